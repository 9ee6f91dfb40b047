"""LongBench inside a whole fit: tiny random model, real DPO steps, scripted answers that improve with training."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from evaluated_fit import fit, rows, write
from lightning.pytorch.loggers import CSVLogger
from power_cut import PowerCut

from longmab_pl.callbacks import AdapterCheckpoint, LongBenchEvaluation, QAEvaluation, RoundReport
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError


def when(callback):
    return [entry["when"] for entry in callback.history]


def test_scores_by_round_predictions_best_adapter_and_test_against_the_first(tmp_path, tiny_model, qa_file, benchmark):
    run = tmp_path / "run"
    evaluation = LongBenchEvaluation(str(benchmark))
    logger = CSVLogger(tmp_path / "log", name="", version="")
    trainer, engine = fit(run, tiny_model, qa_file, evaluation, logger=logger)
    assert when(evaluation) == ["before training", "after round 1", "after round 2", "after round 3"]
    assert [e["round"] for e in evaluation.history] == [0, 1, 2, 3]
    assert [e["eval/longbench/score"] for e in evaluation.history] == [25.0, 75.0, 50.0, 50.0]
    last = evaluation.history[-1]
    assert last["eval/longbench/musique/f1"] == last["eval/longbench/macro/f1"] == 50.0
    assert last["eval/longbench/difference"] == 25.0
    assert 0.0 < last["eval/longbench/p_value"] < 0.1
    assert "eval/longbench/p_value" not in evaluation.history[0]
    assert len(engine.evaluated) == 4 * 16
    assert float(trainer.callback_metrics["eval/longbench/score"]) == 50.0, "a checkpoint can be chosen by it"
    logged = (tmp_path / "log" / "metrics.csv").read_text()
    assert "eval/longbench/hotpotqa/f1" in logged.splitlines()[0]

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
    fit(tmp_path / "run", tiny_model, qa_file, LongBenchEvaluation(str(benchmark)), rounds=1)
    shown = capsys.readouterr().out
    for part in ("before training", "after round 1", "hotpotqa", "macro average", "+50.00 (p ", "best_adapter"):
        assert part in shown


def test_a_task_subset_with_a_limit_asks_the_same_sample_every_time(tmp_path, tiny_model, qa_file, benchmark):
    evaluation = LongBenchEvaluation(str(benchmark), tasks=["musique"], limit=3, name="short", best_adapter=None)
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
    evaluation = LongBenchEvaluation(str(benchmark), limit=1, before_training=False, every_n_steps=2)
    trainer, engine = fit(tmp_path / "run", tiny_model, qa_file, evaluation, rounds=1, accumulate=accumulate)
    steps = trainer.global_step
    assert steps >= 3
    expected = [(f"after step {s}", s, 0) for s in range(2, steps + 1, 2)] + [("after round 1", steps, 1)]
    assert [(e["when"], e["step"], e["round"]) for e in evaluation.history] == expected
    evaluated_steps = {e["step"] for e in evaluation.history}
    assert len(engine.evaluated) == 2 * len(evaluated_steps)
    assert (tmp_path / "run" / "evaluations" / "step-000002" / "longbench" / "musique.jsonl").exists()
    assert engine.slept == 1 + len(evaluated_steps)


def test_only_at_the_end_means_once_after_the_last_round(tmp_path, tiny_model, qa_file, benchmark):
    evaluation = LongBenchEvaluation(str(benchmark), limit=1, before_training=False, every_n_rounds=None)
    fit(tmp_path / "run", tiny_model, qa_file, evaluation, rounds=2)
    assert when(evaluation) == ["after round 2"]


def test_the_end_is_where_training_stops(tmp_path, tiny_model, qa_file, benchmark):
    evaluation = LongBenchEvaluation(str(benchmark), limit=1, before_training=False, every_n_rounds=None)
    fit(tmp_path / "run", tiny_model, qa_file, evaluation, rounds=2, max_steps=2)
    assert [(e["when"], e["step"]) for e in evaluation.history] == [("at the end", 2)]
    assert (tmp_path / "run" / "best_adapter" / "adapter_config.json").exists()


def test_every_second_round_and_the_last(tmp_path, tiny_model, qa_file, benchmark):
    evaluation = LongBenchEvaluation(str(benchmark), limit=1, every_n_rounds=2, at_end=True)
    fit(tmp_path / "run", tiny_model, qa_file, evaluation)
    assert when(evaluation) == ["before training", "after round 2", "after round 3"]
    without = LongBenchEvaluation(str(benchmark), limit=1, before_training=False, every_n_rounds=2, at_end=False)
    fit(tmp_path / "other", tiny_model, qa_file, without)
    assert when(without) == ["after round 2"]


def test_a_resumed_run_keeps_its_history_and_asks_nothing_twice(tmp_path, tiny_model, qa_file, benchmark):
    run = tmp_path / "run"
    whole = LongBenchEvaluation(str(benchmark), limit=2, every_n_steps=2)
    torch.manual_seed(1)
    fit(tmp_path / "whole", tiny_model, qa_file, whole, AdapterCheckpoint(every_n_train_steps=1), rounds=2)
    first = LongBenchEvaluation(str(benchmark), limit=2, every_n_steps=2)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(run, tiny_model, qa_file, first, AdapterCheckpoint(every_n_train_steps=1), PowerCut(3), rounds=2)
    assert when(first) == ["before training", "after step 2"]
    second = LongBenchEvaluation(str(benchmark), limit=2, every_n_steps=2)
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    _, engine = fit(
        run, tiny_model, qa_file, second, AdapterCheckpoint(every_n_train_steps=1), ckpt=checkpoint, rounds=2
    )
    assert when(second) == when(whole)
    assert [e["step"] for e in second.history] == [e["step"] for e in whole.history]
    assert len(engine.evaluated) == 4 * len({e["step"] for e in second.history[2:]})
    assert "eval/longbench/p_value" in second.history[-1], "the first evaluation is found again on disk"


def test_other_questions_begin_another_history(tmp_path, tiny_model, qa_file, benchmark, caplog):
    run = tmp_path / "run"
    first = LongBenchEvaluation(str(benchmark), limit=2)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(run, tiny_model, qa_file, first, AdapterCheckpoint(every_n_train_steps=1), PowerCut(2), rounds=1)
    assert when(first) == ["before training"]
    other = LongBenchEvaluation(str(benchmark), limit=1)
    with caplog.at_level(logging.WARNING, logger="longmab_pl"):
        fit(run, tiny_model, qa_file, other, ckpt=str(run / "checkpoints" / "last.ckpt"), rounds=1)
    assert when(other) == ["after round 1"]
    assert "its history begins anew" in caplog.text


def test_a_steps_score_is_not_taken_for_the_epochs_end(tmp_path, tiny_model, qa_file, benchmark):
    run = tmp_path / "run"
    by_steps = LongBenchEvaluation(
        str(benchmark), limit=1, before_training=False, every_n_rounds=None, at_end=False, every_n_steps=2
    )
    checkpoint = AdapterCheckpoint(monitor="eval/longbench/score")
    trainer, _ = fit(run, tiny_model, qa_file, by_steps, checkpoint, rounds=1)
    assert len(by_steps.history) == trainer.global_step // 2 > 0
    assert checkpoint.best == {}
    assert not (run / "checkpoints" / "best.ckpt").exists()


def test_an_evaluation_that_is_new_in_a_resumed_run_does_not_call_the_trained_policy_untrained(
    tmp_path, tiny_model, qa_file, benchmark
):
    run = tmp_path / "run"
    with pytest.raises(RuntimeError, match="power cut"):
        fit(run, tiny_model, qa_file, AdapterCheckpoint(every_n_train_steps=1), PowerCut(3), rounds=1)
    added = LongBenchEvaluation(str(benchmark), limit=1)
    fit(run, tiny_model, qa_file, added, ckpt=str(run / "checkpoints" / "last.ckpt"), rounds=1)
    assert when(added) == ["after round 1"]


def test_training_text_in_the_benchmark_is_warned_of_once(tmp_path, tiny_model, qa_file, caplog):
    leaked = [{**row, "id": f"leak{row['id']}"} for row in rows(3)] + list(rows(2, 500))
    mine = write(tmp_path / "mine.jsonl", leaked)
    longbench = LongBenchEvaluation(str(mine), before_training=False, every_n_rounds=None)
    sampling = Sampling(temperature=0.0, max_tokens=8)
    qa = QAEvaluation(str(write(tmp_path / "clean.jsonl", rows(2, 500))), sampling=sampling, before_training=False)
    with caplog.at_level(logging.WARNING, logger="longmab_pl"):
        fit(tmp_path / "run", tiny_model, qa_file, longbench, qa, rounds=2)
    found = [r.getMessage() for r in caplog.records if "contamination" in r.getMessage()]
    assert len(found) == 1
    assert "of 5 evaluation records the question of 3 and the context of 3 also occur" in found[0].replace("\n", " ")
    assert "mine 'leak0': its question is in training record '0'" in found[0]


def test_beside_question_answering_and_its_report(tmp_path, tiny_model, qa_file, benchmark):
    """QAEvaluation keeps its own file layout, history and place in the report."""
    sampling = Sampling(temperature=0.0, max_tokens=8)
    qa = QAEvaluation(str(qa_file), limit=4, sampling=sampling)
    longbench = LongBenchEvaluation(str(benchmark), limit=1)
    fit(tmp_path / "run", tiny_model, qa_file, qa, longbench, RoundReport(picture=False), rounds=1)
    folder = tmp_path / "run" / "evaluations" / "after-round-1"
    assert sorted(p.name for p in folder.iterdir()) == ["longbench", "qa.jsonl", "qa.result.json", "qa.settings.json"]
    keys = {
        "when",
        "round",
        "step",
        *(f"eval/{k}" for k in ("em", "f1", "subem", "format_rate", "truncated_rate", "n")),
    }
    assert [set(entry) for entry in qa.history] == [keys, keys]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["evaluations"] == qa.history


def test_a_bad_row_is_reported_and_the_rest_is_scored(tmp_path, tiny_model, qa_file, capsys):
    mine = write(tmp_path / "mine.jsonl", [*rows(2, 500), {"id": 9, "input": "Who?", "context": "A text."}])
    evaluation = LongBenchEvaluation(str(mine), before_training=False)
    fit(tmp_path / "run", tiny_model, qa_file, evaluation, rounds=1)
    assert "mine.jsonl:3: field 'answers'" in capsys.readouterr().err
    assert evaluation.history[0]["eval/longbench/mine/n"] == 2


def test_settings_are_checked(tmp_path, tiny_model, qa_file, benchmark):
    for setting in ("limit", "every_n_steps", "every_n_rounds"):
        with pytest.raises(ConfigError, match=f"{setting} is 0"):
            LongBenchEvaluation(str(benchmark), **{setting: 0})
    with pytest.raises(ConfigError, match="never evaluate"):
        LongBenchEvaluation(str(benchmark), before_training=False, every_n_rounds=None, at_end=False)
    with pytest.raises(ConfigError, match="did you mean 'musique'"):
        fit(tmp_path / "run", tiny_model, qa_file, LongBenchEvaluation(str(benchmark), tasks=["musiqe"]))
    twice = [LongBenchEvaluation(str(benchmark)), LongBenchEvaluation(str(benchmark), tasks=["musique"])]
    with pytest.raises(ConfigError, match="two LongBenchEvaluation callbacks are called 'longbench'"):
        fit(tmp_path / "run", tiny_model, qa_file, *twice)
    same_best = [LongBenchEvaluation(str(benchmark)), LongBenchEvaluation(str(benchmark), name="b")]
    with pytest.raises(ConfigError, match="would both keep their best adapter"):
        fit(tmp_path / "run", tiny_model, qa_file, *same_best)
