"""What a model writes as a question with its answer, in lines, in JSON, and in between."""

from __future__ import annotations

import json

import pytest

from longmab_pl.prompts.question_writing import QuestionPrompt, WrittenQuestion

PROMPT = QuestionPrompt()


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (" Who built it?\nAnswer: Ana Reis", "Ana Reis"),
        (' "Who built it?"\n\n**Answer:** "Ana Reis".', "Ana Reis"),
        ("Question 1: Who built it?\n- Answer: Ana Reis\nQuestion 2: When?\nAnswer: 1871", "Ana Reis"),
        ('{"question": "Who built it?", "answer": "Ana Reis"}', "Ana Reis"),
        ('Sure:\n```json\n{"question": "Who built it?", "answer": "Ana Reis"}\n```', "Ana Reis"),
        ('{"question": "Who built it?", "answer": 1871}', "1871"),
        ("<think>Question: no\nAnswer: no</think>Question: Who built it?\nAnswer: the U.S.", "the U.S."),
        ("问题： Who built it?\nAnswer： 東京", "東京"),
    ],
)
def test_questions_are_read_in_every_usual_form(reply, answer):
    found = PROMPT.read(reply)
    assert found is not None
    assert found.answer == answer
    assert found.question.endswith("Who built it?")


@pytest.mark.parametrize("reply", ["", " Who built it?", "Answer: Ana", '{"question": "Who?"}', "{[", '{"a": 1}', "[]"])
def test_a_reply_without_both_is_none(reply):
    assert PROMPT.read(reply) is None


def test_prompts_show_examples_in_the_form_that_is_asked_for(byte_tokenizer):
    lines = byte_tokenizer.decode(PROMPT.prompt_ids(byte_tokenizer, "My text."))
    assert lines.endswith("[assistant]Question:")
    assert "Question: Who built the harbor of Corvo?\nAnswer: Ana Reis" in lines
    objects = byte_tokenizer.decode(PROMPT.prompt_ids(byte_tokenizer, "My text.", as_json=True))
    assert objects.endswith("[assistant]")
    assert '{"question": "Who built the harbor of Corvo?", "answer": "Ana Reis"}' in objects
    assert json.loads(PROMPT.SCHEMA)["required"] == ["question", "answer"]
    assert PROMPT.read(" Who?\nAnswer: I") == WrittenQuestion("Who?", "I")
