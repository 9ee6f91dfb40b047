"""LongBench Pro from a file in its format."""

from __future__ import annotations

import json

import numpy as np
import pytest
from suites import asked

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation import LongBenchProSuite
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.suite import SuiteContext
from longmab_pl.models.embedder import Embedder

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


class WordEmbedder(Embedder):
    """Unit vectors by the letters of a text, without a model."""

    def encode(self, texts):
        rows = np.array([[text.count(letter) for letter in "abcdefghij"] for text in texts], np.float32) + 1e-3
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_summaries_are_scored_with_an_embedder(data, tokenizer, scripted_engine):
    suite = LongBenchProSuite(data, embedder=WordEmbedder())
    for answer, score in (("ITEM 3", 100), ("xyz", 1), ("", 0)):
        result, _ = asked(suite, tokenizer, scripted_engine, lambda r, answer=answer: answer)
        assert result.tasks["T4.2"].score == pytest.approx(score, abs=49 if answer == "xyz" else 0.01)
    assert result.tasks["T4.2"].format_failures == 1


def test_several_runs_have_a_best_and_a_pass_rate(data, tokenizer, scripted_engine):
    suite = LongBenchProSuite(data, runs=3, temperature=1.0, language="English", limit=1)
    replies = iter(["[Answer]\nwrong", "[Answer]\nitem 0", "[Answer]\nwrong"])
    (task,) = suite.tasks(tokenizer, SuiteContext())
    engine = scripted_engine(lambda prompt: next(replies), concurrency=1)
    result = evaluate([task], engine, tokenizer, progress=False)
    assert [item.id.partition("#")[2] for item in result.tasks["T3.2"].items] == ["1", "2", "3"]
    scores = {name: score.value for name, score in suite.scores(result).items()}
    right = 100.0 if task.records[0].answers == ("item 0",) else 0.0
    assert (scores["best-of-3"], scores["pass-at-3"]) == (right, right)
    assert scores["score"] == pytest.approx(right / 3, abs=0.01)
    with pytest.raises(ConfigError, match="gives the same answer each time"):
        LongBenchProSuite(data, runs=3)


@pytest.mark.parametrize(
    ("settings", "message"), [({"lengths": ["4k"]}, "use 8k, 16k"), ({"language": "German"}, "use English, Chinese")]
)
def test_a_group_that_does_not_exist_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LongBenchProSuite("longbench_pro.json", **settings)
