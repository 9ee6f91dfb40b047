"""Evaluations inside a run as a person starts it: real vLLM, the bundled model, a real adapter, both loggers."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from longmab_pl.data.synthesis import synthesize

pytestmark = pytest.mark.slow

CONFIG = """
trainer:
  default_root_dir: {run}
  accumulate_grad_batches: 1
  logger:
    - class_path: lightning.pytorch.loggers.TensorBoardLogger
      init_args: {{save_dir: {run}/tb, name: "", version: ""}}
    - class_path: lightning.pytorch.loggers.CSVLogger
      init_args: {{save_dir: {run}/csv, name: "", version: ""}}
  callbacks:
    - class_path: longmab_pl.callbacks.Evaluation
      init_args:
        suite:
          class_path: longmab_pl.evaluation.LongBenchSuite
          init_args: {{data: {run}/bench, tasks: [hotpotqa], limit: 4}}
        keep_best: best_adapter
    - class_path: longmab_pl.callbacks.Evaluation
      init_args:
        suite:
          class_path: longmab_pl.evaluation.NeedleSuite
          init_args: {{needle: {{lengths: [256], depths: [0, 100], needles: 2}}}}
        when: {{every_n_rounds: null}}
model: {{learning_rate: 1.0e-3}}  # so that few steps show
data:
  init_args:
    rounds: 1
    records_per_round: 6
    strategy: {{init_args: {{pulls: 2, init: uniform}}}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    (run / "bench").mkdir()
    rows = [
        {"_id": r.id, "input": r.input, "context": r.context, "answers": [r.answer], "length": 200, "all_classes": None}
        for r in synthesize(seed=7, n_train=0, n_eval=6, passages=4, two_hop=0).eval
    ]
    (run / "bench" / "hotpotqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "evaluation.yaml").write_text(CONFIG.format(run=run))
    fit = [sys.executable, "-m", "longmab_pl", "fit", "--config", "demo", "--config", str(run / "evaluation.yaml")]
    done = subprocess.run(fit, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=800)
    assert done.returncode == 0, done.stdout
    (run / "output").write_text(done.stdout)
    return run


def test_every_logger_has_the_scores_before_and_after(run: Path) -> None:
    events = EventAccumulator(str(run / "tb")).Reload()
    for name in (
        "eval/longbench/hotpotqa/f1",
        "eval/longbench/macro/f1",
        "eval/longbench/score",
        "eval/needle/accuracy",
    ):
        assert len(events.Scalars(name)) == 2, name
        with (run / "csv" / "metrics.csv").open() as file:
            assert sum(bool(row.get(name)) for row in csv.DictReader(file)) == 2, name
    assert len(events.Images("eval/needle/map")) == 2
    assert len(events.Scalars("eval/longbench/p_value")) == 1


def test_predictions_maps_and_the_best_adapter_are_on_disk(run: Path) -> None:
    results = {}
    for when in ("before-training", "after-round-1"):
        folder = run / "evaluations" / when
        rows = [json.loads(line) for line in (folder / "longbench" / "hotpotqa.jsonl").read_text().splitlines()]
        assert len({row["id"] for row in rows}) == 4
        results[when] = {row["id"]: row["pred"] for row in rows}
        assert json.loads((folder / "needle" / "map.json").read_text())["asked"] == [[2, 2]]
    assert results["before-training"].keys() == results["after-round-1"].keys()
    assert results["before-training"] != results["after-round-1"], "the engine answered with the adapter"
    best = json.loads((run / "best_adapter" / "best.json").read_text())
    assert best["when"] == "after round 1"
    assert (run / "best_adapter" / "adapter_model.safetensors").exists()
    assert (run / "needle-map.png").exists()


def test_the_run_ends_with_its_tables(run: Path) -> None:
    shown = (run / "output").read_text()
    for part in (
        "evaluation 8 of 8 questions",
        "evaluation after round 1: 100%",
        "hotpotqa",
        "difference",
        "needles found, %",
        "best_adapter",
    ):
        assert part in shown
