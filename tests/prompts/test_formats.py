from __future__ import annotations

from longmab_pl.prompts.formats import DirectAnswer, PlanAndSolve, ReasonThenAnswer, fill


def test_braces_in_documents_and_questions_stay_as_they_are():
    assert fill("{context} | {question}", "{question} {x}", "{context}") == "{question} {x} | {context}"


def test_direct_opens_the_assistants_turn_and_keeps_the_opening(byte_tokenizer):
    prompt_format = DirectAnswer()
    ids = prompt_format.prompt_ids(byte_tokenizer, "some words", "what ?")
    assert byte_tokenizer.decode(ids).endswith("[assistant]Answer:")
    assert prompt_format.response(" Paris") == "Answer: Paris"


def test_reason_then_answer_leaves_the_turn_to_the_model(byte_tokenizer):
    prompt_format = ReasonThenAnswer()
    assert byte_tokenizer.decode(prompt_format.prompt_ids(byte_tokenizer, "some words", "what ?")).endswith(
        "[assistant]"
    )
    assert prompt_format.response("I think.\nAnswer: x") == "I think.\nAnswer: x"


def test_overhead_is_the_prompt_without_the_context(byte_tokenizer):
    for prompt_format in (DirectAnswer(), ReasonThenAnswer()):
        whole = len(prompt_format.prompt_ids(byte_tokenizer, "one two three", "what ?"))
        assert prompt_format.prompt_overhead(byte_tokenizer, "what ?") == whole - len("one two three")


def test_plan_and_solve_puts_the_instruction_after_the_question_as_the_original_does():
    (message,) = PlanAndSolve(ending="").messages("Passage 1:\nLyon {is} in France.", "Where is Lyon?")
    assert message["content"].startswith("\nPassage 1:\nLyon {is} in France.\n\nWhere is Lyon?\nBegin by making sure")
    assert message["content"].endswith("reached.\n")


def test_plan_and_solve_asks_for_a_line_with_the_answer_that_rewards_can_read(byte_tokenizer):
    prompt = byte_tokenizer.decode(PlanAndSolve().prompt_ids(byte_tokenizer, "some words", "what ?"))
    assert 'End with one line of the form "Answer: ' in prompt
    assert PlanAndSolve(instruction="", ending="").messages("c", "q")[0]["content"] == "\nc\n\nq\n"
