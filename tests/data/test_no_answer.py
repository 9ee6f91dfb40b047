from __future__ import annotations

import json

import pytest

from longmab_pl.data.no_answer import NOT_STATED, PHRASES, says_no_answer
from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord, records_digest
from longmab_pl.rewards.answer_match import normalize_answer
from longmab_pl.rewards.lenient_match import normalize_lenient


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Not stated.", True),
        ("**not stated** in the passages", True),
        ("Unknown", True),
        ("Lima", False),
        ("Lima, or not stated", False),
        ("not stated, but Lima", False),
        ("unknown soldiers", False),
        ("", False),
    ],
)
def test_an_answer_that_says_nothing_else(answer, expected):
    assert says_no_answer(answer, normalize_lenient) is expected
    assert says_no_answer(answer, normalize_answer) is expected


def test_rows_that_have_no_answer_are_read_as_such(tmp_path):
    file = tmp_path / "qa.jsonl"
    row = {"input": "Where?", "answer": "Quito", "context": "Passage 1: Lima\nIn Peru.", "evidence": ["Lima"]}
    rows = [row | {"answerable": False}, row | {"answerable": True}, row]
    file.write_text("".join(json.dumps(each) + "\n" for each in rows))
    none, known, unsaid = read_records(str(file)).records
    assert (none.answers, none.answerable, none.evidence) == (PHRASES, False, ())
    assert none.answer == NOT_STATED
    for record in (known, unsaid):
        assert (record.answers, record.answerable, len(record.evidence)) == (("Quito",), True, 1)
    assert records_digest([QARecord("1", "q", ("x",), "c")]) != records_digest(
        [QARecord("1", "q", ("x",), "c", answerable=False)]
    )
