"""Evaluations that are asked together with the next round's rollout: the same results in fewer wakes of the engine."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from evaluated_fit import LearningEngine, fit

from longmab_pl.callbacks import AdapterCheckpoint, Evaluation, RoundReport
from longmab_pl.errors import EngineError
from longmab_pl.evaluation import EvaluationResult, LongBenchSuite

MONITOR = "eval/longbench/score"


class NotedEngine(LearningEngine):
    """Notes what it has answered, with the number of adapters that it had been given."""

    def __init__(self, **options):
        super().__init__(**options)
        self.said: list[tuple[int, str]] = []

    def say(self, request, i):
        self.said.append((len(self.synced), request.id))
        return super().say(request, i)


def files(run):
    """What a run has answered, scored and paired, by file; lines in an order of their own."""
    found = {}
    for path in sorted([*run.glob("evaluations/**/*.jsonl"), *run.glob("rounds/*/pairs.jsonl")]):
        found[str(path.relative_to(run))] = sorted(line.partition('"crc"')[0] for line in path.read_text().splitlines())
    for path in run.glob("evaluations/**/result.json"):
        found[str(path.relative_to(run))] = replace(EvaluationResult.load(path), seconds=0.0)
    return found


def test_results_are_those_of_one_after_the_other_in_fewer_wakes(tmp_path, tiny_model, qa_file, benchmark):
    runs = {}
    # A score that decides which checkpoint is best is needed before the next rollout.
    for name, monitor in (("beside", None), ("at once", MONITOR)):
        evaluation = Evaluation(LongBenchSuite(str(benchmark)), keep_best="best_adapter")
        torch.manual_seed(1)
        callbacks = (evaluation, AdapterCheckpoint(monitor=monitor), RoundReport(picture=False, page=False))
        trainer, engine = fit(tmp_path / name, tiny_model, qa_file, *callbacks, engine=NotedEngine())
        runs[name] = (evaluation, engine, trainer)
    beside, at_once = runs["beside"], runs["at once"]
    assert [entry.to_json() for entry in beside[0].history] == [entry.to_json() for entry in at_once[0].history]
    assert files(tmp_path / "beside") == files(tmp_path / "at once") != {}
    assert Counter(beside[1].said) == Counter(at_once[1].said)
    best = [json.loads((tmp_path / name / "best_adapter" / "best.json").read_text()) for name in runs]
    assert best[0] == best[1]
    assert len(json.loads((tmp_path / "beside" / "report.json").read_text())["evaluations"]) == 4 * 3
    # The evaluation before training goes beside the first rollout in both; only the last has no rollout to go with.
    assert beside[1].slept == 3 + 1
    assert at_once[1].slept == 3 + 3
    assert float(beside[2].callback_metrics[MONITOR]) == float(at_once[2].callback_metrics[MONITOR]) == 50.0


def test_a_run_that_dies_in_the_shared_wake_asks_nothing_twice(tmp_path, tiny_model, qa_file, benchmark):
    """The first wake answers 16 questions and 8 x 4 pulls; the engine dies in the second."""
    run, said = tmp_path / "run", []
    for fail_after in (48 + 41, None):
        evaluation = Evaluation(LongBenchSuite(str(benchmark)))
        engine = NotedEngine(fail_after=fail_after)
        checkpoint = str(run / "checkpoints" / "last.ckpt") if fail_after is None else None
        arguments = (run, tiny_model, qa_file, evaluation, AdapterCheckpoint())
        if fail_after is None:
            fit(*arguments, engine=engine, ckpt=checkpoint, rounds=2)
        else:
            with pytest.raises(EngineError, match="told to break"):
                fit(*arguments, engine=engine, ckpt=checkpoint, rounds=2)
            assert [entry.when for entry in evaluation.history if entry.task is None] == ["before training"]
            assert any(key == 1 and name.startswith("evaluation/") for key, name in engine.said)
        said += engine.said
    assert [entry.when for entry in evaluation.history if entry.task is None] == [
        "before training",
        "after round 1",
        "after round 2",
    ]
    assert len(said) == len(set(said)) == 3 * 16 + 2 * 32


def test_two_evaluations_with_the_same_task_are_asked_together(tmp_path, tiny_model, qa_file, benchmark):
    pair = [Evaluation(LongBenchSuite(str(benchmark), limit=3, name=name)) for name in ("first", "second")]
    engine = NotedEngine(concurrency=16)
    fit(tmp_path / "run", tiny_model, qa_file, *pair, engine=engine, rounds=1)
    assert [entry.when for entry in pair[0].history] == [entry.when for entry in pair[1].history]
    scores = [[entry.scores for entry in evaluation.history] for evaluation in pair]
    assert scores[0] == scores[1]
    asked = [name for _, name in engine.said if name.startswith("evaluation/")]
    assert len(asked) == len(set(asked)) * 2 == 2 * 2 * 2 * 3, "each before and after: two suites of two tasks"
