"""Several suites in one command as a person types it: real vLLM, the bundled model, one start of the engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from longmab_pl.data.synthesis import synthesize
from longmab_pl.evaluation import EvaluationResult

pytestmark = pytest.mark.slow


def questions(folder: Path) -> None:
    """Write `v2.json`, four questions with options in LongBench v2's format, and `qa.jsonl`, the same without."""
    made = synthesize(seed=5, n_train=0, n_eval=4, passages=4, two_hop=0).eval
    pool = [record.answer for record in made]
    rows = [
        {
            "_id": record.id,
            "domain": "Single-Document QA",
            "sub_domain": "Invented",
            "difficulty": "easy" if number % 2 else "hard",
            "length": "short",
            "question": record.input,
            **{f"choice_{letter}": option for letter, option in zip("ABCD", pool, strict=True)},
            "answer": "ABCD"[number],
            "context": record.context,
        }
        for number, record in enumerate(made)
    ]
    (folder / "v2.json").write_text(json.dumps(rows))
    records = [{"id": r.id, "input": r.input, "answer": r.answer, "context": r.context} for r in made]
    (folder / "qa.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_suites_share_one_start_of_the_engine(tmp_path: Path) -> None:
    questions(tmp_path)
    command = [sys.executable, "-m", "longmab_pl", "evaluate", "--model", "bundled:smollm2-135m-instruct"]
    command += ["--suite", "ruler,longbench_v2,qa", "--out", "out", "--max_model_len", "1024", "--kv_cache_gb", "0.5"]
    command += ["--ruler.lengths", "256", "--ruler.tasks", "niah_single_1", "--ruler.samples", "2"]
    command += ["--longbench_v2.data", "v2.json", "--longbench_v2.answer", "log_likelihood"]
    command += ["--qa.data", "qa.jsonl", "--qa.sampling.temperature", "0", "--qa.sampling.max_tokens", "24"]
    done = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("loading it takes a while") == 1, done.stdout
    scores = {}
    for suite, n in (("ruler", 2), ("longbench_v2", 4), ("qa", 4)):
        result = EvaluationResult.load(tmp_path / "out" / suite / "result.json")
        assert sum(task.n for task in result.tasks.values()) == n, suite
        assert not any(task.skipped for task in result.tasks.values()), suite
        scores[suite] = {name: task.score for name, task in result.tasks.items()}
    assert scores["ruler"] == {"niah_single_1": 100.0}, "a number in repeated lines is found"
    rows = [json.loads(line) for line in (tmp_path / "out" / "longbench_v2" / "longbench_v2.jsonl").open()]
    assert all(row["pred"].startswith("The correct answer is (") for row in rows)
