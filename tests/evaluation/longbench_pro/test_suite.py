"""LongBench Pro from a file in its format."""

from __future__ import annotations

import json

import pytest
from suites import asked

from longmab_pl.errors import DataError
from longmab_pl.evaluation import LongBenchProSuite
from longmab_pl.evaluation.suite import SuiteContext

CONFLICTS = "T7.1 Global Conflict & Inconsistency Localization"


def row(i, **changes):
    return {
        "id": f"p{i}",
        "context": f"Context {i}.",
        "language": "English",
        "token_length": "8k",
        "primary_task": "T3. Evidence-Grounded QA",
        "secondary_task": "T3.2 Single-Hop Fact QA",
        "contextual_requirement": "Partial",
        "question_nonthinking": "Answer now.",
        "question_thinking": "Think first.",
        "answer": [f"item {i}"],
        "difficulty": "Easy",
    } | changes


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "longbench_pro.json"
    rows = [
        row(0),
        row(1, token_length="16k", difficulty="Hard"),
        row(
            2, secondary_task="T7.1 Global Conflict & Inconsistency Localization", answer=["a", "b"], language="Chinese"
        ),
        row(3, secondary_task="T4.2 Query-Focused Summary"),
    ]
    path.write_text(json.dumps(rows))
    return str(path)


def test_each_task_has_its_metric_and_groups_go_over_all_tasks(data, tokenizer, scripted_engine):
    notes = []
    suite = LongBenchProSuite(data)
    suite.tasks(tokenizer, SuiteContext(note=notes.append))
    assert "1 summaries are left out" in notes[0]
    result, prompts = asked(
        suite, tokenizer, scripted_engine, lambda r: "[Answer]\na\nc" if r.id == "p2" else "[Answer]\nitem 0"
    )
    assert {name: task.score for name, task in result.tasks.items()} == {"T3.2": 50, "T7.1": 50}
    scores = {name: score.value for name, score in suite.scores(result).items()}
    assert scores["score"] == 50
    assert (scores["length-8k"], scores["length-16k"], scores["language-Chinese"]) == (75, 0, 50)
    assert prompts["T3.2/p0"] == "<u>Context 0.\n\n\n\nAnswer now.</u><a>"


def test_items_are_chosen_by_length_and_asked_to_think(data, tokenizer, scripted_engine):
    suite = LongBenchProSuite(data, lengths=["16k"], thinking_question=True)
    _, prompts = asked(suite, tokenizer, scripted_engine, lambda r: "")
    assert list(prompts.values()) == ["<u>Context 1.\n\n\n\nThink first.</u><a>"]


def test_an_unknown_task_is_named_with_its_row(tmp_path, tokenizer):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([row(0, secondary_task="T99")]))
    with pytest.raises(DataError, match="row 1: field 'secondary_task'"):
        LongBenchProSuite(str(path)).tasks(tokenizer, SuiteContext())
