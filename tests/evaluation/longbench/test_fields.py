"""`LongBenchSuite` on data whose fields have other names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation import LongBenchSuite, SuiteContext


@pytest.fixture
def renamed(tmp_path: Path) -> Path:
    """A folder with a task of LongBench and one of the user's own, with other names of the fields."""
    for task in ("musique", "mine"):
        rows = [{"key": f"{task}{i}", "ask": f"What is {i}?", "gold": [f"{i}"], "body": f"Text {i}."} for i in range(3)]
        (tmp_path / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


FIELDS = {"id": "key", "question": "ask", "answers": "gold", "context": "body"}


def test_a_suite_reads_fields_of_other_names(renamed):
    tasks = LongBenchSuite(str(renamed), fields=FIELDS, limit=2).tasks(None, SuiteContext())
    assert [task.name for task in tasks] == ["musique", "mine"]
    assert [len(task.records) for task in tasks] == [2, 2]
    (only,) = LongBenchSuite(str(renamed / "mine.jsonl"), fields=FIELDS).tasks(None, SuiteContext())
    record = only.records[1]
    assert (record.id, record.question, record.answers, record.context) == ("mine1", "What is 1?", ("1",), "Text 1.")


def test_without_them_the_rows_cannot_be_used(renamed):
    with pytest.raises(DataError, match="not one usable row for evaluation task 'musique'"):
        LongBenchSuite(str(renamed)).tasks(None, SuiteContext())


def test_a_mapping_the_wrong_way_round_is_refused():
    with pytest.raises(ConfigError, match=r"did you mean question: ask"):
        LongBenchSuite("bench", fields={"ask": "question"})
