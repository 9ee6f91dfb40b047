from __future__ import annotations

import json

import pytest

from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord, records_digest
from longmab_pl.errors import DataError


def read(tmp_path, *rows, **settings):
    path = tmp_path / "writing.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_records(str(path), **settings)


def test_instructions_of_ours_and_of_longdpo_are_read(tmp_path):
    found = read(
        tmp_path,
        {"id": "a", "prompt": "Write a story.", "length": 500},
        {"instruction": "Write a poem.", "target_length": 40.0},
        {"prompt": "Write.", "length": None, "type": "Essay"},
        {"prompt": "Write.", "length": "700"},
    )
    assert [(r.id, r.question, r.length) for r in found.records] == [
        ("a", "Write a story.", 500),
        ("2", "Write a poem.", 40),
        ("3", "Write.", None),
        ("4", "Write.", 700),
    ]
    assert found.records[0].answers == ()
    assert found.records[0].context == found.records[0].answer == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Write.", "length": 0}, "writing.jsonl:1: length: is 0; the required number of words is at least"),
        ({"prompt": "Write.", "length": -5}, "length: is -5"),
        ({"prompt": "Write.", "length": 10.5}, "length: is a number; give the required number of words"),
        ({"prompt": "Write.", "length": True}, "length: is a boolean"),
        ({"prompt": "Write.", "target_length": "long"}, "target_length: is a string"),
        ({"prompt": "  ", "length": 5}, "prompt: is empty or blank"),
        ({"instruction": "Write.", "output": "Done."}, "input: missing"),
        ({"prompt": "Q", "chosen": "a", "rejected": "b"}, "preference data"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, row)


def test_a_question_whose_fields_are_mapped_is_no_instruction_whatever_its_columns_are_called(tmp_path):
    row = {"prompt": "Which river?", "text": "The town lies on the Ombra.", "label": "Ombra"}
    fields = {"question": "prompt", "context": "text", "answers": "label"}
    (record,) = read(tmp_path, row, fields=fields).records
    assert record == QARecord("1", "Which river?", ("Ombra",), "The town lies on the Ombra.")
    with pytest.raises(DataError, match="label: missing"):
        read(tmp_path, {"prompt": "Which river?", "text": "On the Ombra."}, fields=fields)


@pytest.mark.parametrize("name", ["documents", "paragraphs", "contexts"])
def test_a_prompt_with_documents_is_no_instruction(tmp_path, name):
    with pytest.raises(DataError, match="input: missing"):
        read(tmp_path, {"prompt": "Which river?", name: ["The town lies on the Ombra."]})


def test_a_million_words_are_a_valid_requirement(tmp_path):
    assert read(tmp_path, {"prompt": "Write.", "length": 1_000_000}).records[0].length == 1_000_000


def test_the_required_length_is_in_the_digest_and_other_records_keep_theirs():
    plain, long, longer = (QARecord("a", "q", ("x",), "c", length=n) for n in (None, 500, 600))
    assert len({records_digest([r]) for r in (plain, long, longer)}) == 3
    assert records_digest([QARecord("a", "q", ("x",), "c")]) == records_digest([plain])
