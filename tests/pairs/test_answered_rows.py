"""Rows that have one answer: every layout of SFT files, as prompt and answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.data.readers import BadRecord
from longmab_pl.errors import ConfigError
from longmab_pl.pairs.kinds import kind_of, refuse_answers_alone
from longmab_pl.pairs.readers import read_answered, read_preferences
from longmab_pl.pairs.types import Answer, Demonstration, PreferencePair


def write(tmp_path: Path, *rows: Any) -> str:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
ALPACA = "Below is an instruction.\n\n### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n### Response:\na"


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"context": "Doc.", "query": "Q", "response": "a"}, (user("Doc.\n\nQ"),)),
        ({"context": "Doc.", "query": "Q", "win_response": "a"}, (user("Doc.\n\nQ"),)),
        ({"context": "Doc.", "query": "Q", "win_response": "a", "lose_response": None}, (user("Doc.\n\nQ"),)),
        ({"prompt": "Text:", "completion": "a"}, "Text:"),
        ({"prompt": [user("Q")], "completion": [assistant("a")]}, (user("Q"),)),
        ({"prompt": [SYSTEM, user("Q")], "completion": "a"}, (SYSTEM, user("Q"))),
        ({"messages": [user("Q"), assistant("a")]}, (user("Q"),)),
        (
            {"messages": [SYSTEM, user("1"), assistant("x"), user("Q"), assistant("a")]},
            (SYSTEM, user("1"), assistant("x"), user("Q")),
        ),
        ({"prompt": "Q", "prompt_id": "p", "messages": [user("Q"), assistant("a")]}, (user("Q"),)),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "a"}]}, (user("Q"),)),
        (
            {
                "instruction": "Q",
                "response": "a",
                "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "a"}],
            },
            (user("Q"),),
        ),
        ({"system": "Be brief.", "messages": [user("Q"), assistant("a")]}, (SYSTEM, user("Q"))),
        ({"instruction": "Add.", "input": "1, 2", "output": "a"}, (user("Add.\n\n1, 2"),)),
        ({"instruction": "Add.", "input": "1, 2", "output": "a", "text": ALPACA}, (user("Add.\n\n1, 2"),)),
        ({"instruction": "Q", "input": "", "output": "a"}, (user("Q"),)),
        ({"question": "Q", "answer": "a"}, (user("Q"),)),
        ({"question": "Q", "system_prompt": "Be brief.", "answer": "a"}, (SYSTEM, user("Q"))),
        ({"input": "Q", "context": "Doc.", "answer": "a"}, (user("Doc.\n\nQ"),)),
        (
            {"messages": [user("1"), assistant("x")], "question": "Q", "answer": "a"},
            (user("1"), assistant("x"), user("Q")),
        ),
        ({"chosen": [user("Q"), assistant("a")]}, (user("Q"),)),
    ],
)
def test_every_layout_is_read_as_it_is(tmp_path: Path, row: dict[str, Any], prompt: Any) -> None:
    source = write(tmp_path, row)
    (found,) = read_answered(source)
    assert isinstance(found, Demonstration), found
    assert (found.prompt, found.answer, found.id) == (prompt, Answer("a"), "1")
    assert found.where == f"{source}:1"


def test_a_row_with_a_worse_answer_stays_a_pair_and_a_cut_answer_has_no_end(tmp_path: Path) -> None:
    pair = {"question": "Q", "chosen": "a", "rejected": "b"}
    source = write(tmp_path, pair, {"id": "x", "question": "Q", "chosen": "a", "chosen_ended": False})
    first, second = read_answered(source)
    assert isinstance(first, PreferencePair)
    assert [first] == [row for row in read_preferences(source) if isinstance(row, PreferencePair)]
    assert isinstance(second, Demonstration)
    assert (second.id, second.answer.ended) == ("x", False)
    assert Demonstration.of(first).answer == Answer("a")


def test_columns_name_the_prompt_and_the_answer(tmp_path: Path) -> None:
    source = write(tmp_path, {"ask": "Q", "doc": "Doc.", "reply": "a", "input": "other"})
    (bad,) = read_answered(source)
    assert isinstance(bad, BadRecord)
    assert bad.field == "answer"
    assert "columns: {answer: NAME} (the row has ask, doc, reply, input)" in bad.message
    (found,) = read_answered(source, columns={"question": "ask", "context": "doc", "answer": "reply"})
    assert isinstance(found, Demonstration)
    assert (found.prompt, found.answer.text) == ((user("Doc.\n\nQ"),), "a")
    (mixed,) = read_answered(source, columns={"question": "ask", "chosen": "reply", "rejected": "worse"})
    assert isinstance(mixed, Demonstration)


@pytest.mark.parametrize(
    ("row", "field", "what"),
    [
        ({"question": "Q"}, "answer", "missing"),
        ({"answer": "a"}, "prompt", "missing"),
        ({"question": "Q", "answer": 3}, "answer", "is 3"),
        ({"question": "Q", "answer": "a", "response": "b"}, "response", "columns: {answer: answer}"),
        ({"messages": [user("Q")]}, "messages", "ends with a turn of user"),
        ({"messages": [assistant("a")]}, "prompt", "missing"),
        ({"messages": [user("Q"), {**assistant(""), "tool_calls": [{}]}]}, "messages.tool_calls", "calls a tool"),
        ({"question": "Q", "answer": "a", "document": "Doc."}, "document", "looks like a part of the prompt"),
        ({"question": "Q", "answer": "a", "document": "Doc. a"}, "document", "looks like a part of the prompt"),
        ({"question": "Q", "rejected": "b"}, "chosen", "missing"),
    ],
)
def test_a_row_that_is_no_prompt_with_an_answer_says_why(tmp_path: Path, row: Any, field: str, what: str) -> None:
    (bad,) = read_answered(write(tmp_path, row))
    assert isinstance(bad, BadRecord)
    assert bad.field == field
    assert what in bad.message


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"context": "Doc.", "query": "Q", "response": "a"}, "answer"),
        ({"question": "Q", "answer": "a"}, "answer"),
        ({"prompt": "Q", "completion": "a"}, "answer"),
        ({"messages": [user("Q"), assistant("a")]}, "answer"),
        ({"context": "Doc.", "query": "Q", "win_response": "a", "lose_response": "b"}, "preference"),
        ({"context": "Doc.", "question": "Q", "answer": "a"}, "record"),
        ({"context": "Doc.", "input": "Q", "answers": ["a"]}, "record"),
        ({"context": "Doc.", "input": "Q", "answer": "a", "response": "b"}, "record"),
    ],
)
def test_the_kind_of_a_file_is_that_of_its_first_row(tmp_path: Path, row: Any, kind: str) -> None:
    assert kind_of(write(tmp_path, row)) == kind


def test_a_file_without_worse_answers_is_refused_where_two_are_compared(tmp_path: Path) -> None:
    alone, pair = {"question": "Q", "answer": "a"}, {"question": "Q", "chosen": "a", "rejected": "b"}
    source = write(tmp_path, alone, alone)
    with pytest.raises(ConfigError) as caught:
        refuse_answers_alone("data.train", source)
    message = str(caught.value)
    assert message.startswith(f"data.train {source}: its rows have one answer each and no worse one")
    assert "model.phases: [longmab_pl.training.SFTPhase]" in message
    assert "data.columns: {rejected: NAME}" in message
    refuse_answers_alone("data.train", write(tmp_path, alone, pair))  # its rows are told apart one by one
    refuse_answers_alone("data.train", write(tmp_path, {"nothing": 1}))
