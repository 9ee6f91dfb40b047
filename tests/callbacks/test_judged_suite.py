"""A judged suite inside training: the judge rates after each evaluation, and its score is the one that is logged."""

from __future__ import annotations

import json

from evaluated_fit import fit, rows, write

from longmab_pl.callbacks import Evaluation
from longmab_pl.engines import ScriptedEngine
from longmab_pl.evaluation import EvaluationResult, Judge, JudgedLongBenchSuite


def test_a_judge_rates_the_policy_before_and_after_training(tmp_path, tiny_model):
    qa = write(tmp_path / "qa.jsonl", rows(4))
    asked = [
        {"_id": str(i), "input": f"Q{i}?", "context": f"River {200 + i}.", "answers": [f"river {200 + i}"]}
        for i in range(8)
    ]
    write(tmp_path / "bench" / "musique.jsonl", asked)
    said = iter(["[[3]]", "[[1]]"] * 4 + ["[[3]]"] * 7 + ["unsure"])
    judge = ScriptedEngine(lambda request, i: next(said), max_model_len=20_000)
    suite = JudgedLongBenchSuite(
        str(tmp_path / "bench"), Judge(tiny_model, judge), tasks=["musique"], max_new_tokens=32
    )
    evaluation = Evaluation(suite, keep_best="best")
    trainer, _ = fit(tmp_path / "run", tiny_model, qa, evaluation, rounds=1)
    whole = [entry for entry in evaluation.history if entry.task is None]
    assert [entry.scores["score"].value for entry in whole] == [50.0, 100.0]
    assert len(judge.asked) == 16
    assert trainer.callback_metrics["eval/longbench_judge/score"] == whole[-1].scores["score"].value
    after = EvaluationResult.load(
        tmp_path / "run" / "evaluations" / "after-round-1" / "longbench_judge" / "result.json"
    )
    assert set(after.tasks["musique"].scores) == {"rating"}
    assert len(after.tasks["musique"].skipped) == 1
    assert json.loads((tmp_path / "run" / "best" / "best.json").read_text())["monitor"] == "eval/longbench_judge/score"
