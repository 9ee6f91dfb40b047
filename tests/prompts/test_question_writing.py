"""What a model writes as a question with its answer, in lines, in JSON, and in between."""

from __future__ import annotations

import json

import pytest

from longmab_pl.prompts.question_writing import QuestionPrompt, WrittenQuestion

PROMPT = QuestionPrompt()


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (" Ana Reis\nQuestion: Who built it?", "Ana Reis"),
        ("Answer: Ana Reis\nQuestion: Who built it?", "Ana Reis"),
        (' "Ana Reis".\n\n**Question:** "Who built it?"', "Ana Reis"),
        ("Question 1: Who built it?\n- Answer: Ana Reis\nQuestion 2: When?\nAnswer: 1871", "Ana Reis"),
        (" Ana Reis\nQuestion: Who built it?\nAnswer: Luis\nQuestion: Who closed it?", "Ana Reis"),
        ('{"answer": "Ana Reis", "question": "Who built it?"}', "Ana Reis"),
        ('Sure:\n```json\n{"question": "Who built it?", "answer": "Ana Reis"}\n```', "Ana Reis"),
        ('{"question": "Who built it?", "answer": 1871}', "1871"),
        ("<think>Answer: no\nQuestion: no?</think>Answer: the U.S.\nQuestion: Who built it?", "the U.S."),
        ("Answer： 東京\nQuestion： Who built it?", "東京"),
    ],
)
def test_questions_are_read_in_every_usual_form(reply, answer):
    found = PROMPT.read(reply)
    assert found is not None
    assert found.answer == answer
    assert found.question == "Who built it?"


@pytest.mark.parametrize(
    "reply", ["", " Who built it?", "Answer: Ana", "Question: Who?", '{"question": "Who?"}', "{[", '{"a": 1}', "[]"]
)
def test_a_reply_without_both_is_none(reply):
    assert PROMPT.read(reply) is None


def test_prompts_show_examples_in_the_form_that_is_asked_for(byte_tokenizer):
    lines = byte_tokenizer.decode(PROMPT.prompt_ids(byte_tokenizer, "My text."))
    assert lines.endswith("[assistant]Answer:")
    assert "Answer: Ana Reis\nQuestion: Who built the harbor of Corvo?" in lines
    objects = byte_tokenizer.decode(PROMPT.prompt_ids(byte_tokenizer, "My text.", as_json=True))
    assert objects.endswith("[assistant]")
    assert '{"answer": "Ana Reis", "question": "Who built the harbor of Corvo?"}' in objects
    assert json.loads(PROMPT.SCHEMA)["required"] == ["answer", "question"]
    assert PROMPT.read(" I\nQuestion: Who?") == WrittenQuestion("Who?", "I")
