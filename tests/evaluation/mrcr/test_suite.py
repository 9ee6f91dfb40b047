"""MRCR from Parquet files in its format."""

from __future__ import annotations

import json

import pyarrow
import pyarrow.parquet
import pytest
from suites import asked

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation import MRCRSuite
from longmab_pl.evaluation.suite import SuiteContext


def row(n, **changes):
    chat = [
        {"role": "user", "content": "a poem about rain"},
        {"role": "assistant", "content": "drip " * n},
        {"role": "user", "content": "Prepend abcde12345 to the first poem about rain."},
    ]
    return {
        "prompt": json.dumps(chat),
        "answer": "abcde12345drip drip",
        "random_string_to_prepend": "abcde12345",
    } | changes


@pytest.fixture
def folder(tmp_path):
    def write(rows):
        (tmp_path / "2needle").mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "2needle" / "2needle_0.parquet")
        return str(tmp_path)

    return write


def test_similarity_and_prefix_by_length(folder, tokenizer, scripted_engine):
    suite = MRCRSuite(folder([row(1000), row(2000), row(10)]), needles=[2])
    result, prompts = asked(suite, tokenizer, scripted_engine, lambda r: r.answer if r.id != "2-1" else " " + r.answer)
    task = result.tasks["2needle"]
    assert task.scores == {"similarity": pytest.approx(66.67), "prefix": pytest.approx(66.67)}
    assert {name: (found["score"], found["n"]) for name, found in task.buckets.items()} == {
        "length other": (100, 1),
        "length 4096-8192": (100, 1),
        "length 8192-16384": (0, 1),
    }
    assert prompts["2needle/2-2"].startswith("<u>a poem about rain</u><u>drip ")


def test_longer_chats_are_left_out(folder, tokenizer):
    path = folder([row(1000), row(2000)])
    (task,) = MRCRSuite(path, needles=[2], longest=8192).tasks(tokenizer, SuiteContext())
    assert [record.id for record in task.records] == ["2-0"]
    with pytest.raises(ConfigError, match="at most 100 tokens"):
        MRCRSuite(path, needles=[2], longest=100).tasks(tokenizer, SuiteContext())


def test_wrong_rows_and_missing_files_are_named(folder, tokenizer):
    with pytest.raises(DataError, match="row 1: the answer does not start with"):
        MRCRSuite(folder([row(1, answer="x")]), needles=[2]).tasks(tokenizer, SuiteContext())
    with pytest.raises(DataError, match="row 1: field 'prompt' is no JSON list"):
        MRCRSuite(folder([row(1, prompt="hello")]), needles=[2]).tasks(tokenizer, SuiteContext())
    with pytest.raises(DataError, match="openai/mrcr"):
        MRCRSuite(folder([row(1)]), needles=[4]).tasks(tokenizer, SuiteContext())
    with pytest.raises(ConfigError, match="some of 2, 4 and 8"):
        MRCRSuite("x", needles=[3])
