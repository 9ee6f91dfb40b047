from __future__ import annotations

from longmab_pl.prompts.reasoning import INSTRUCTIONS, reasoning_prompt


def test_the_question_stands_below_the_context_between_line_ends():
    assert reasoning_prompt(" ctx\n", " Who?\n") == "\n ctx\n\n\nWho?\n"


def test_an_instruction_follows_the_question():
    prompt = reasoning_prompt("ctx", "Who?", INSTRUCTIONS["plan_and_solve"])
    assert prompt == f"\nctx\n\nWho?\n{INSTRUCTIONS['plan_and_solve']}\n"
