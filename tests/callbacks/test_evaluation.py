"""A suite inside a whole fit: tiny random model, real DPO steps, scripted answers that improve with training."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from evaluated_fit import LearningEngine, fit, rows, write
from lightning.pytorch.loggers import CSVLogger
from power_cut import PowerCut

from longmab_pl.callbacks import AdapterCheckpoint, AdapterExport, Evaluation, EvaluationSchedule, RoundReport
from longmab_pl.cli.evaluate import evaluate
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation import EvaluationEntry, LongBenchSuite, NeedleSettings, NeedleSuite, QASuite
from longmab_pl.prompts.formats import DirectAnswer

SCHEDULE = {"before_training", "every_n_rounds", "every_n_steps", "at_end"}


def longbench(data, best="best_adapter", **options):
    """LongBench on `data`; options of the schedule and of the suite."""
    when = EvaluationSchedule(**{key: options.pop(key) for key in SCHEDULE & options.keys()})
    return Evaluation(LongBenchSuite(str(data), **options), when, keep_best=best)


def whole(callback):
    """The rows of the suite as a whole."""
    return [entry for entry in callback.history if entry.task is None]


def when(callback):
    return [entry.when for entry in whole(callback)]


def test_scores_by_round_predictions_best_adapter_and_test_against_the_first(tmp_path, tiny_model, qa_file, benchmark):
    run = tmp_path / "run"
    evaluation = longbench(benchmark)
    logger = CSVLogger(tmp_path / "log", name="", version="")
    trainer, engine = fit(run, tiny_model, qa_file, evaluation, logger=logger)
    assert when(evaluation) == ["before training", "after round 1", "after round 2", "after round 3"]
    assert [e.round for e in whole(evaluation)] == [0, 1, 2, 3]
    assert [e.scores["score"].value for e in whole(evaluation)] == [25.0, 75.0, 50.0, 50.0]
    last = evaluation.history[-3:]
    assert [(e.task, e.metric, e.scores[e.metric].value) for e in last] == [
        (None, "score", 50.0), ("hotpotqa", "f1", 50.0), ("musique", "f1", 50.0)
    ]  # fmt: skip
    assert last[0].scores["macro/f1"].value == 50.0
    assert last[0].scores["score"].low < 50.0 < last[0].scores["score"].high
    assert last[0].against_first.difference == 25.0
    # 4 of 16 records changed, all for the better: of the 2^4 ways to exchange them 2 are as far.
    assert last[0].against_first.p_value == pytest.approx(2 / 16, abs=0.01)
    assert last[2].against_first.n == 8
    assert evaluation.history[0].against_first is None
    assert len(engine.evaluated) == 4 * 16
    assert float(trainer.callback_metrics["eval/longbench/score"]) == 50.0, "a checkpoint can be chosen by it"
    logged = (tmp_path / "log" / "metrics.csv").read_text()
    for name in ("hotpotqa/f1", "macro/f1", "score", "difference", "p_value"):
        assert f"eval/longbench/{name}" in logged.splitlines()[0]

    folder = run / "evaluations" / "after-round-2" / "longbench"
    predictions = [json.loads(line) for line in (folder / "hotpotqa.jsonl").read_text().splitlines()]
    assert sorted(p["id"] for p in predictions) == [f"b{i}" for i in range(100, 108)]
    assert sum(p["pred"].startswith("river") for p in predictions) == 4
    result = json.loads((folder / "result.json").read_text())
    assert result["macro"] == {"f1": 50.0}
    assert result["model"] == "tiny, after round 2"
    tests = json.loads((folder / "against_first.json").read_text())
    assert tests["musique"]["difference"] == tests["macro"]["difference"] == 25.0
    assert tests["macro"]["n"] == 16

    best = json.loads((run / "best_adapter" / "best.json").read_text())
    assert best["score"] == 75.0
    assert best["when"] == "after round 1"
    assert best["first"] == {"when": "before training", "score": 25.0}
    served = sorted((run / "adapters").iterdir())[0]
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (run / "best_adapter" / name).read_bytes() == (served / name).read_bytes()


def test_the_closing_table_sets_the_last_beside_the_first(tmp_path, tiny_model, qa_file, benchmark, capsys):
    fit(tmp_path / "run", tiny_model, qa_file, longbench(benchmark), rounds=1)
    shown = capsys.readouterr().out
    for part in ("before training", "after round 1", "hotpotqa", "macro average", "+50.00 (p ", "best_adapter"):
        assert part in shown


def test_a_task_subset_with_a_limit_asks_the_same_sample_every_time(tmp_path, tiny_model, qa_file, benchmark):
    evaluation = longbench(benchmark, tasks=["musique"], limit=3, name="short", best=None)
    _, engine = fit(tmp_path / "run", tiny_model, qa_file, evaluation, rounds=1)
    assert len(engine.evaluated) == 6
    ids = [
        {json.loads(line)["id"] for line in (folder / "short" / "musique.jsonl").read_text().splitlines()}
        for folder in sorted((tmp_path / "run" / "evaluations").iterdir())
    ]
    assert len(ids) == 2
    assert ids[0] == ids[1]
    assert len(ids[0]) == 3
    assert not (tmp_path / "run" / "best_adapter").exists()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_n_steps_evaluates_each_step_once_and_not_twice_at_a_rounds_end(
    tmp_path, tiny_model, qa_file, benchmark, accumulate
):
    evaluation = longbench(benchmark, limit=1, before_training=False, every_n_steps=2)
    trainer, engine = fit(tmp_path / "run", tiny_model, qa_file, evaluation, rounds=1, accumulate=accumulate)
    steps = trainer.global_step
    assert steps >= 3
    expected = [(f"after step {s}", s, 0) for s in range(2, steps + 1, 2)] + [("after round 1", steps, 1)]
    assert [(e.when, e.step, e.round) for e in whole(evaluation)] == expected
    evaluated_steps = {e.step for e in evaluation.history}
    assert len(engine.evaluated) == 2 * len(evaluated_steps)
    assert (tmp_path / "run" / "evaluations" / "step-000002" / "longbench" / "musique.jsonl").exists()
    assert engine.slept == 1 + len(evaluated_steps)


def test_only_at_the_end_means_once_after_the_last_round(tmp_path, tiny_model, qa_file, benchmark):
    evaluation = longbench(benchmark, limit=1, before_training=False, every_n_rounds=None)
    fit(tmp_path / "run", tiny_model, qa_file, evaluation, rounds=2)
    assert when(evaluation) == ["after round 2"]


def test_the_end_is_where_training_stops(tmp_path, tiny_model, qa_file, benchmark):
    evaluation = longbench(benchmark, limit=1, before_training=False, every_n_rounds=None)
    fit(tmp_path / "run", tiny_model, qa_file, evaluation, rounds=2, max_steps=2)
    assert [(e.when, e.step) for e in whole(evaluation)] == [("at the end", 2)]
    assert (tmp_path / "run" / "best_adapter" / "adapter_config.json").exists()


def test_every_second_round_and_the_last(tmp_path, tiny_model, qa_file, benchmark):
    evaluation = longbench(benchmark, limit=1, every_n_rounds=2, at_end=True)
    fit(tmp_path / "run", tiny_model, qa_file, evaluation)
    assert when(evaluation) == ["before training", "after round 2", "after round 3"]
    without = longbench(benchmark, limit=1, before_training=False, every_n_rounds=2, at_end=False)
    fit(tmp_path / "other", tiny_model, qa_file, without)
    assert when(without) == ["after round 2"]


def test_a_resumed_run_keeps_its_history_and_asks_nothing_twice(tmp_path, tiny_model, qa_file, benchmark):
    run = tmp_path / "run"
    undisturbed = longbench(benchmark, limit=2, every_n_steps=2)
    torch.manual_seed(1)
    fit(tmp_path / "whole", tiny_model, qa_file, undisturbed, AdapterCheckpoint(every_n_train_steps=1), rounds=2)
    first = longbench(benchmark, limit=2, every_n_steps=2)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(run, tiny_model, qa_file, first, AdapterCheckpoint(every_n_train_steps=1), PowerCut(3), rounds=2)
    assert when(first) == ["before training", "after step 2"]
    second = longbench(benchmark, limit=2, every_n_steps=2)
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    _, engine = fit(
        run, tiny_model, qa_file, second, AdapterCheckpoint(every_n_train_steps=1), ckpt=checkpoint, rounds=2
    )
    assert when(second) == when(undisturbed)
    assert [e.step for e in second.history] == [e.step for e in undisturbed.history]
    assert len(engine.evaluated) == 4 * len({e.step for e in whole(second)[2:]})
    assert whole(second)[-1].against_first is not None, "the first evaluation is found again on disk"


def test_other_questions_begin_another_history(tmp_path, tiny_model, qa_file, benchmark, caplog):
    run = tmp_path / "run"
    first = longbench(benchmark, limit=2)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(run, tiny_model, qa_file, first, AdapterCheckpoint(every_n_train_steps=1), PowerCut(2), rounds=1)
    assert when(first) == ["before training"]
    other = longbench(benchmark, limit=1)
    with caplog.at_level(logging.WARNING, logger="longmab_pl"):
        fit(run, tiny_model, qa_file, other, ckpt=str(run / "checkpoints" / "last.ckpt"), rounds=1)
    assert when(other) == ["after round 1"]
    assert "its history starts again" in caplog.text


def test_a_steps_score_is_not_taken_for_the_epochs_end(tmp_path, tiny_model, qa_file, benchmark):
    run = tmp_path / "run"
    by_steps = longbench(benchmark, limit=1, before_training=False, every_n_rounds=None, at_end=False, every_n_steps=2)
    checkpoint = AdapterCheckpoint(monitor="eval/longbench/score")
    trainer, _ = fit(run, tiny_model, qa_file, by_steps, checkpoint, rounds=1)
    assert len(whole(by_steps)) == trainer.global_step // 2 > 0
    assert checkpoint.best == {}
    assert not (run / "checkpoints" / "best.ckpt").exists()


def test_an_evaluation_that_is_new_in_a_resumed_run_does_not_call_the_trained_policy_untrained(
    tmp_path, tiny_model, qa_file, benchmark
):
    run = tmp_path / "run"
    with pytest.raises(RuntimeError, match="power cut"):
        fit(run, tiny_model, qa_file, AdapterCheckpoint(every_n_train_steps=1), PowerCut(3), rounds=1)
    added = longbench(benchmark, limit=1)
    fit(run, tiny_model, qa_file, added, ckpt=str(run / "checkpoints" / "last.ckpt"), rounds=1)
    assert when(added) == ["after round 1"]


def test_training_text_in_the_benchmark_is_warned_of_once(tmp_path, tiny_model, qa_file, caplog):
    leaked = [{**row, "id": f"leak{row['id']}"} for row in rows(3)] + list(rows(2, 500))
    mine = write(tmp_path / "mine.jsonl", leaked)
    leaking = longbench(mine, before_training=False, every_n_rounds=None)
    sampling = Sampling(temperature=0.0, max_tokens=8)
    clean = QASuite(str(write(tmp_path / "clean.jsonl", rows(2, 500))), sampling=sampling)
    qa = Evaluation(clean, EvaluationSchedule(before_training=False))
    with caplog.at_level(logging.WARNING, logger="longmab_pl"):
        fit(tmp_path / "run", tiny_model, qa_file, leaking, qa, rounds=2)
    found = [r.getMessage() for r in caplog.records if "contamination" in r.getMessage()]
    assert len(found) == 1
    assert "of 5 evaluation records the question of 3 and the context of 3 also occur" in found[0].replace("\n", " ")
    assert "mine 'leak0': its question is in training record '0'" in found[0]


def test_two_suites_side_by_side_and_their_report(tmp_path, tiny_model, qa_file, benchmark, capsys):
    sampling = Sampling(temperature=0.0, max_tokens=8)
    qa = Evaluation(QASuite(str(qa_file), name="held", limit=4, sampling=sampling))
    other = longbench(benchmark, limit=1)
    fit(tmp_path / "run", tiny_model, qa_file, qa, other, RoundReport(picture=False), rounds=1)
    folder = tmp_path / "run" / "evaluations" / "after-round-1"
    assert sorted(p.name for p in folder.iterdir()) == ["held", "longbench"]
    files = {p.name for p in (folder / "held").iterdir()}
    assert files == {"held.jsonl", "held.settings.json", "result.json", "against_first.json"}
    assert [(e.suite, e.task, list(e.scores)) for e in qa.history] == [("held", None, ["f1", "em", "subem"])] * 2
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    read_back = [EvaluationEntry.from_json(row) for row in report["evaluations"]]
    assert read_back == sorted([*qa.history, *other.history], key=lambda e: e.step)
    shown = capsys.readouterr().out
    for part in ("held ", "SubEM", "longbench", "score", "musique", "after round 1"):
        assert part in shown, part


def test_report_json_is_there_while_the_run_goes_on(tmp_path, tiny_model, qa_file, benchmark):
    run = tmp_path / "run"
    evaluation = longbench(benchmark, limit=1)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(run, tiny_model, qa_file, evaluation, RoundReport(picture=False), PowerCut(9), rounds=3)
    report = json.loads((run / "report.json").read_text())
    assert [row["round"] for row in report["rounds"]] == [1]
    assert {e["when"] for e in report["evaluations"]} == {"before training", "after round 1"}


def test_the_command_reuses_the_predictions_of_a_run(tmp_path, tiny_model, qa_file):
    """Same suite, model and adapter: `longmab evaluate` scores what the callback asked, and asks nothing itself."""
    run = tmp_path / "run"
    suite = QASuite(str(qa_file), limit=4, prompt_format=DirectAnswer())
    evaluation = Evaluation(suite)
    fit(run, tiny_model, qa_file, evaluation, AdapterExport(), rounds=1)
    for when, adapter in (("before-training", None), ("after-round-1", str(run / "adapter"))):
        engine = LearningEngine()
        out = str(run / "evaluations" / when)
        evaluate(model=tiny_model, suite=suite, adapter=adapter, out=out, engine=engine)
        assert engine.asked == []
        assert not engine.started


def test_a_bad_row_is_reported_and_the_rest_is_scored(tmp_path, tiny_model, qa_file, capsys):
    mine = write(tmp_path / "mine.jsonl", [*rows(2, 500), {"id": 9, "input": "Who?", "context": "A text."}])
    evaluation = longbench(mine, before_training=False)
    fit(tmp_path / "run", tiny_model, qa_file, evaluation, rounds=1)
    assert "mine.jsonl:3: answer: missing" in capsys.readouterr().err
    assert [(e.task, e.n) for e in evaluation.history] == [(None, 2), ("mine", 2)]


def test_settings_are_checked(tmp_path, tiny_model, qa_file, benchmark):
    for setting in ("limit", "every_n_steps", "every_n_rounds"):
        with pytest.raises(ConfigError, match=f"{setting} is 0"):
            longbench(benchmark, **{setting: 0})
    with pytest.raises(ConfigError, match="never evaluate"):
        longbench(benchmark, before_training=False, every_n_rounds=None, at_end=False)
    with pytest.raises(ConfigError, match="did you mean 'musique'"):
        fit(tmp_path / "run", tiny_model, qa_file, longbench(benchmark, tasks=["musiqe"]))
    twice = [longbench(benchmark), Evaluation(QASuite(str(qa_file), name="longbench"))]
    with pytest.raises(ConfigError, match="two evaluations are called 'longbench'"):
        fit(tmp_path / "run", tiny_model, qa_file, *twice)
    too_long = Evaluation(NeedleSuite(NeedleSettings(lengths=[200_000])))
    with pytest.raises(ConfigError, match=r"needle.lengths is \[200000\] and the model takes 100000 tokens"):
        fit(tmp_path / "run", tiny_model, qa_file, too_long)
    same_best = [longbench(benchmark), longbench(benchmark, name="b")]
    with pytest.raises(ConfigError, match="would both keep their best adapter"):
        fit(tmp_path / "run", tiny_model, qa_file, *same_best)
