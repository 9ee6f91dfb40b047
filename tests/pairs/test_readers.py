from __future__ import annotations

import json
from dataclasses import replace

import pytest

from longmab_pl.data.readers import BadRecord
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.files import PairWriter
from longmab_pl.pairs.readers import read_preferences
from longmab_pl.pairs.types import PairOrigin, PreferencePair


def read(tmp_path, *rows):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return list(read_preferences(str(path)))


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": [user("Q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}, (user("Q"),)),
        ({"prompt": [user("Q")], "chosen": "a", "rejected": "b"}, (user("Q"),)),
        ({"prompt": [SYSTEM, user("Q")], "chosen": [assistant("a")], "rejected": "b"}, (SYSTEM, user("Q"))),
        ({"prompt": "Q", "chosen": [assistant("a")], "rejected": [assistant("b")]}, (user("Q"),)),
        ({"chosen": [user("Q"), assistant("a")], "rejected": [user("Q"), assistant("b")]}, (user("Q"),)),
        ({"prompt": "Q", "chosen": [user("Q"), assistant("a")], "rejected": [user("Q"), assistant("b")]}, (user("Q"),)),
        (
            {
                "prompt": "Q",
                "chosen": [SYSTEM, user("Q"), assistant("a")],
                "rejected": [SYSTEM, user("Q"), assistant("b")],
            },
            (SYSTEM, user("Q")),
        ),
        (
            {
                "chosen": [user("1"), assistant("x"), user("Q"), assistant("a")],
                "rejected": [user("1"), assistant("x"), user("Q"), assistant("b")],
            },
            (user("1"), assistant("x"), user("Q")),
        ),
        ({"prompt": "Text:", "chosen": "a", "rejected": "b"}, "Text:"),
    ],
)
def test_every_form_is_read(tmp_path, row, prompt):
    (found,) = read(tmp_path, row)
    assert isinstance(found, PreferencePair)
    assert found.prompt == prompt
    assert (found.chosen, found.rejected) == ("a", "b")
    assert (found.chosen_ended, found.rejected_ended, found.chosen_reward) == (True, True, 0.0)
    assert found.id == "1"


def test_texts_without_a_prompt_are_cut_where_they_part(tmp_path):
    start = "\n\nHuman: Which?\n\nAssistant:"
    (found,) = read(tmp_path, {"chosen": start + " The Elbe", "rejected": start + " The Elk"})
    assert (found.prompt, found.chosen, found.rejected) == (start + " The", " Elbe", " Elk")
    (found,) = read(tmp_path, {"chosen": start + " Yes", "rejected": start + " No"})
    assert (found.prompt, found.chosen, found.rejected) == (start, " Yes", " No")


def test_rewards_ends_and_names_are_taken_over(tmp_path):
    row = {"id": 7, "prompt": [user("Q")], "chosen": "a", "rejected": "b", "rejected_ended": False}
    first, second = read(tmp_path, {**row, "chosen_reward": 1, "rejected_reward": 0.25}, {**row, "score_chosen": 8.5})
    assert (first.id, first.chosen_reward, first.rejected_reward, first.rejected_ended) == ("7", 1.0, 0.25, False)
    assert (second.chosen_reward, second.rejected_reward) == (8.5, 0.0)


@pytest.mark.parametrize(
    ("row", "field", "what"),
    [
        ("{not json", "", "not JSON"),
        ("[1]", "", "the row is a list"),
        ({"prompt": "Q", "rejected": "b"}, "chosen", "missing.*the row has prompt, rejected"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "prompt", "is 3"),
        ({"prompt": "Q", "chosen": [], "rejected": "b"}, "chosen", "empty list"),
        ({"prompt": "Q", "chosen": ["a"], "rejected": "b"}, "chosen[0]", "a message has a role"),
        ({"prompt": "Q", "chosen": [{"role": "assistant"}], "rejected": "b"}, "chosen[0].content", "only texts"),
        ({"chosen": "a", "rejected": "b"}, "prompt", "no beginning in common"),
        ({"chosen": [assistant("a")], "rejected": [assistant("b")]}, "prompt", "no turn in common"),
        (
            {"prompt": [user("Q")], "chosen": [assistant("a"), user("?"), assistant("c")], "rejected": "b"},
            "chosen",
            "turns assistant, user, assistant",
        ),
        ({"prompt": [user("Q"), assistant("x")], "chosen": "a", "rejected": "b"}, "prompt", "ends with an assistant"),
        (
            {"prompt": "Q", "chosen": "a", "rejected": "b", "chosen_reward": "high"},
            "chosen_reward",
            "give a finite number",
        ),
        ({"prompt": "Q", "chosen": "a", "rejected": "b", "chosen_ended": 1}, "chosen_ended", "true or false"),
        ({"id": [1], "prompt": "Q", "chosen": "a", "rejected": "b"}, "id", "text or an integer"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_field(tmp_path, row, field, what):
    good = {"prompt": "Q", "chosen": "a", "rejected": "b"}
    first, bad, last = read(tmp_path, good, row, good)
    assert isinstance(first, PreferencePair)
    assert isinstance(last, PreferencePair)
    assert isinstance(bad, BadRecord)
    assert bad.line == 2
    assert bad.field == field
    import re

    assert re.search(what, bad.message), bad.message


def test_our_own_pairs_are_read_from_both_formats(tmp_path):
    origin = PairOrigin(1, "Q?", "A", 0, 1, 0, 1, (0,), (), 0)
    pair = PreferencePair(
        "q",
        (user("Q"),),
        "Answer: a",
        "Answer: b",
        1.0,
        0.5,
        rejected_ended=False,
        chosen_mask=(8, 9),
        chosen_ids=(5, 6),
        origin=origin,
    )
    for format in ("jsonl", "parquet"):
        path = tmp_path / f"p.{format}"
        with PairWriter(path, format) as writer:
            writer.write(pair)
            writer.write(replace(pair, chosen_ids=None, chosen_mask=None))
        first, second = read_preferences(str(path))
        assert first == pair
        assert first.name == "q#1"
        assert first.where == f"{path}:1"
        assert second.chosen_ids is None


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(read_preferences(str(tmp_path / "none.jsonl")))


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"instruction": "Sum.", "input": "1 2", "chosen": "a", "rejected": "b"}, (user("Sum.\n\n1 2"),)),
        ({"context": "D", "query": "Q", "win_response": "a", "lose_response": "b", "idx": "3"}, (user("D\n\nQ"),)),
        ({"system": "Be brief.", "query": "Q", "chosen": "a", "rejected": "b"}, (SYSTEM, user("Q"))),
        ({"system": "Be brief.", "prompt": "Q", "chosen": "a", "rejected": "b"}, (SYSTEM, user("Q"))),
        ({"system": "", "input": "Q", "chosen": "a", "rejected": "b"}, (user("Q"),)),
        ({"messages": [user("Q")], "chosen": "a", "rejected": "b"}, (user("Q"),)),
        (
            {
                "conversations": [{"from": "human", "value": "Q"}],
                "chosen": {"from": "gpt", "value": "a"},
                "rejected": {"from": "gpt", "value": "b"},
            },
            (user("Q"),),
        ),
        (
            {
                "prompt": "Q",
                "prompt_id": "x",
                "messages": [user("Q"), assistant("a")],
                "chosen": [user("Q"), assistant("a")],
                "rejected": [user("Q"), assistant("b")],
                "score_chosen": 8.0,
                "score_rejected": 6.5,
            },
            (user("Q"),),
        ),
        (
            {
                "instruction": "Q",
                "completions": [
                    {"response": "b", "overall_score": 2.0},
                    {"response": "a", "overall_score": 8.5},
                    {"response": "c", "overall_score": 5.0},
                ],
            },
            (user("Q"),),
        ),
        ({"instruction": "Q", "chosen_response": "a", "rejected_response": "b", "chosen-rating": 5.0}, (user("Q"),)),
        ({"prompt": [SYSTEM, user("Q")], "system": "Be brief.", "chosen": "a", "rejected": "b"}, (SYSTEM, user("Q"))),
    ],
)
def test_layouts_are_known_by_their_columns(tmp_path, row, prompt):
    (found,) = read(tmp_path, row)
    assert isinstance(found, PreferencePair), found
    assert found.prompt == prompt
    assert (found.chosen, found.rejected) == ("a", "b")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"my_question": "Q", "chosen": "The a", "rejected": "The b"}, "my_question"),
        ({"prompt": "Q", "context": "C", "chosen": "a", "rejected": "b"}, "context"),
        ({"prompt": "Q", "question": "Another", "chosen": "a", "rejected": "b"}, "question"),
        ({"history": [["a", "b"]], "instruction": "Q", "chosen": "a", "rejected": "b"}, "history"),
    ],
)
def test_a_column_that_looks_like_a_question_is_never_left_unread(tmp_path, row, field):
    (found,) = read(tmp_path, row)
    assert isinstance(found, BadRecord)
    assert found.field == field
    assert "looks like a part of the prompt and is not read" in found.message


def test_columns_of_any_name_are_mapped(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"ask": "Q", "good": "a", "bad": "b", "context": "unused"}) + "\n")
    columns = {"question": "ask", "chosen": "good", "rejected": "bad"}
    (found,) = read_preferences(str(path), columns=columns)
    assert (found.prompt, found.chosen, found.rejected) == ((user("Q"),), "a", "b")
    with pytest.raises(ConfigError, match=r"'ask' is no column of a pair \(did you mean question: ask\?\)"):
        list(read_preferences(str(path), columns={"ask": "question"}))
    (bad,) = read_preferences(str(path), columns={**columns, "system": "sys"})
    assert bad.field == "sys"
    assert "columns says that it holds the system" in bad.message


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (
            {"prompt": "Other", "chosen": [user("Q"), assistant("a")], "rejected": [user("Q"), assistant("b")]},
            "begin in different ways",
        ),
        (
            {
                "prompt": [{"role": "system", "content": "Rhyme."}, user("Q")],
                "chosen": [SYSTEM, user("Q"), assistant("a")],
                "rejected": [SYSTEM, user("Q"), assistant("b")],
            },
            "another system message",
        ),
        ({"prompt": [{"role": "pirate", "content": "Q"}], "chosen": "a", "rejected": "b"}, "a role is one of"),
        ({"prompt": [user("Q")], "chosen": [{**assistant("a"), "tool_calls": [1]}], "rejected": "b"}, "calls a tool"),
        ({"prompt": [user("Q\ud83d")], "chosen": "a", "rejected": "b"}, "half a surrogate pair"),
        ({"prompt": "Q", "chosen": "a", "rejected": "b", "chosen_reward": 10**400}, "too large a number"),
        ('{"prompt": "Q", "chosen": "a", "rejected": "b", "chosen_reward": Infinity}', "give a finite number"),
        ('{"prompt": "Q", "chosen": "a", "rejected": "b", "chosen_reward": 1e999}', "give a finite number"),
        ({"prompt": "Q", "chosen": "a", "rejected": "b", "tools": "{"}, "is no JSON"),
    ],
)
def test_what_cannot_be_decided_is_refused(tmp_path, row, what):
    (found,) = read(tmp_path, row)
    assert isinstance(found, BadRecord)
    assert what in found.message


def test_null_filled_message_columns_are_not_there(tmp_path):
    message = {"role": "user", "content": "Q", "name": None, "tool_calls": None}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}], "name": None}
    result = {"role": "tool", "content": "3", "name": "f", "tool_call_id": "c", "tool_calls": None}
    (found,) = read(tmp_path, {"prompt": [message, call, result], "chosen": "a", "rejected": "b", "tools": "[{}]"})
    assert found.prompt[0] == user("Q")
    assert found.prompt[1]["content"] == ""
    assert found.prompt[2] == {"role": "tool", "content": "3", "name": "f", "tool_call_id": "c"}
    assert found.tools == ({},)
