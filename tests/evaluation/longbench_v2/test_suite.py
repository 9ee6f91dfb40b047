"""LongBench v2 from a file in its format."""

from __future__ import annotations

import json

import pytest
from suites import asked

from longmab_pl.errors import DataError
from longmab_pl.evaluation import LongBenchV2Suite
from longmab_pl.evaluation.suite import SuiteContext


def row(i, **changes):
    return {
        "_id": f"q{i}",
        "domain": "d",
        "sub_domain": "s",
        "difficulty": "easy" if i % 2 else "hard",
        "length": ("short", "medium", "long")[i % 3],
        "question": f"Which one is {i}?",
        **{f"choice_{letter}": f"choice {letter}{i}" for letter in "ABCD"},
        "answer": "ABCD"[i % 4],
        "context": f"Context {i}. " + "x" * 200,
    } | changes


@pytest.fixture
def data(tmp_path):
    def write(rows):
        path = tmp_path / "data.json"
        path.write_text(json.dumps(rows))
        return str(path)

    return write


def test_accuracy_by_difficulty_and_length(data, tokenizer, scripted_engine):
    suite = LongBenchV2Suite(data([row(i) for i in range(6)]))
    result, prompts = asked(
        suite,
        tokenizer,
        scripted_engine,
        lambda r: f"The correct answer is ({r.answer})" if r.groups["difficulty"] == "easy" else "I cannot say.",
    )
    scores = {name: score.value for name, score in suite.scores(result).items()}
    assert scores == {
        "score": 50,
        "difficulty-easy": 100,
        "difficulty-hard": 0,
        "length-short": 50,
        "length-medium": 50,
        "length-long": 50,
    }
    assert result.tasks["longbench_v2"].format_failures == 3
    assert "(B) choice B0" in prompts["longbench_v2/q0"]


def test_compensation_counts_a_missing_letter_as_chance(data, tokenizer, scripted_engine):
    suite = LongBenchV2Suite(data([row(i) for i in range(4)]), compensated=True)
    result, _ = asked(suite, tokenizer, scripted_engine, lambda r: "I cannot say.")
    assert suite.scores(result)["score"].value == 25


def test_without_context_and_with_retrieved_chunks(data, tokenizer, scripted_engine):
    chunks = [{"c_idx": 5, "content": "later"}, {"c_idx": 1, "content": "sooner"}, {"c_idx": 0, "content": "third"}]
    path = data([row(0, retrieved_context=chunks)])
    _, prompts = asked(LongBenchV2Suite(path, mode="no_context"), tokenizer, scripted_engine, lambda r: "")
    assert "Context 0" not in prompts["longbench_v2/q0"]
    _, prompts = asked(LongBenchV2Suite(path, mode="rag", chunks=2), tokenizer, scripted_engine, lambda r: "")
    assert "Retrieved chunk 1: sooner\n\nRetrieved chunk 2: later" in prompts["longbench_v2/q0"]
    assert "third" not in prompts["longbench_v2/q0"]


def test_long_prompts_lose_their_middle(data, tokenizer, scripted_engine):
    path = data([row(0, context="begin " + "x" * 5000 + " end")])
    _, prompts = asked(LongBenchV2Suite(path, prompt_tokens=601), tokenizer, scripted_engine, lambda r: "")
    text = prompts["longbench_v2/q0"].removeprefix("<u>").removesuffix("</u><a>")
    assert len(text) == 601
    assert "begin" in text
    assert text.endswith("A, B, C and D.")
    _, prompts = asked(LongBenchV2Suite(path), tokenizer, scripted_engine, lambda r: "", max_model_len=1000)
    assert len(prompts["longbench_v2/q0"]) == 1000 - 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "E"}, "row 2: field 'answer' is .*E.*; it must be one of A, B, C, D"),
        ({"choice_C": None}, "row 2: field 'choice_C'"),
    ],
)
def test_a_bad_row_is_named(data, tokenizer, changes, message):
    with pytest.raises(DataError, match=message):
        LongBenchV2Suite(data([row(0), row(1, **changes)])).tasks(tokenizer, SuiteContext())


def test_a_missing_file_says_which_one_is_wanted(tmp_path, tokenizer):
    with pytest.raises(DataError, match="THUDM/LongBench-v2"):
        LongBenchV2Suite(str(tmp_path / "data.json")).tasks(tokenizer, SuiteContext())
