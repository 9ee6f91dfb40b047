"""InfiniteBench's En.QA inside a whole fit, under both protocols."""

from __future__ import annotations

import json

import pytest
from evaluated_fit import LearningEngine, fit, write

from longmab_pl.callbacks import Evaluation
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation import InfiniteBenchSuite


@pytest.fixture
def books(tmp_path):
    """Four questions in InfiniteBench's own fields."""
    rows = [
        {"id": i, "context": f"Chapter {i}. " + "It rained. " * 40, "input": f"Where did person {i} go?",
         "answer": [f"to place {i}", f"place {i}"], "options": []}
        for i in range(4)
    ]  # fmt: skip
    return write(tmp_path / "books" / "longbook_qa_eng.jsonl", rows).parent


class Reader(LearningEngine):
    def say(self, request, i):
        if "/longbook_qa_eng/" not in request.id:
            return super().say(request, i)
        position = int(request.id.rsplit("/", 1)[1])
        return f"It rained much.\nAnswer: place {position}" if self.synced or position == 0 else "I cannot say."


@pytest.mark.parametrize("protocol", ["qa", "infinitebench"])
def test_scores_of_either_protocol(tmp_path, tiny_model, qa_file, books, protocol):
    suite = InfiniteBenchSuite(
        str(books), protocol=protocol, sampling=Sampling(temperature=0.0, max_tokens=30), limit=4
    )
    evaluation = Evaluation(suite)
    _, engine = fit(tmp_path / "run", tiny_model, qa_file, evaluation, engine=Reader(), rounds=1)
    first, last = (entry.logged() for entry in evaluation.history if entry.task == "longbook_qa_eng")
    key = "eval/infinitebench/longbook_qa_eng/"
    asked = [r for r in engine.asked if r.id.startswith("evaluation/")]
    assert len(asked) == 8
    if protocol == "qa":
        assert [(e[key + "em"], e[key + "f1"], e[key + "subem"]) for e in (first, last)] == [(25.0,) * 3, (100.0,) * 3]
        assert asked[0].sampling.max_tokens == 30
    else:
        # The benchmark's own scorer sees the whole response: 3 or 2 of the 6 words are the answer's.
        assert 0 < first[key + "f1"] < last[key + "f1"] < 100
        assert key + "em" not in first
        assert asked[0].sampling.max_tokens == 40
    assert evaluation.history[-2].logged()["eval/infinitebench/difference"] > 0
    folder = tmp_path / "run" / "evaluations" / "after-round-1" / "infinitebench"
    rows = [json.loads(line) for line in (folder / "longbook_qa_eng.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == ["0", "1", "2", "3"]
    assert not (tmp_path / "run" / "best_adapter").exists()
