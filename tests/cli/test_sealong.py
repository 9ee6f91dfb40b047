"""SeaLong as its configs run it: agreement of scripted answers, ORPO or SFT, an adapter; once with the real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from longmab_pl.cli.main import main
from longmab_pl.pairs.readers import read_round_pairs

SMALL = ["--data.init_args.records_per_round=8", "--data.init_args.limit=8", "--report.picture=false"]
SCRIPTED = [
    '--data.init_args.engine={"class_path": "longmab_pl.engines.ScriptedEngine", "init_args": {"answer": '
    '"scripted_answers.by_seed"}}',
    "--data.init_args.verify_sync=false",
    "--trainer.callbacks=[]",
    "--data.init_args.rewards=[{class_path: longmab_pl.rewards.Consistency, init_args: {similarity: rouge}}, "
    "longmab_pl.rewards.AnswerMatch]",
]


def fit(tmp_path: Path, *options: str) -> tuple[dict[str, float], list, dict]:
    run = tmp_path / "run"
    main(["fit", "--config", "sealong", *options, f"--trainer.default_root_dir={run}", *SMALL])
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
    (summary,) = run.glob("rounds/*/round.json")
    pairs = list(read_round_pairs(summary.parent / "pairs.jsonl"))
    report = json.loads((run / "report.json").read_text())
    return json.loads(summary.read_text())["statistics"], pairs, report


@pytest.mark.parametrize("sft", [False, True])
def test_the_answers_that_agree_are_trained_without_gold_answers(tmp_path, tiny_model, sft):
    options = ["--config", "sealong-sft"] if sft else []
    statistics, pairs, report = fit(tmp_path, *options, f"--model.model={tiny_model}", *SCRIPTED)
    assert statistics["pairs/count"] == len(pairs) > 0
    skipped = sum(value for name, value in statistics.items() if name.startswith("pairs/skipped_"))
    assert len(pairs) + skipped == statistics["rollout/records"] == 8
    for pair in pairs:
        assert pair.chosen_reward > pair.rejected_reward
        assert pair.chosen != pair.rejected
    assert statistics["rollout/responses"] == 64
    assert "reward/answer_match/in_format" in statistics
    (row,) = report["rounds"]
    assert row["train/loss"] > 0
    assert ("train/rewards/chosen" in row) != sft
    if not sft:  # ORPO's implicit reward: its weight times the mean log-probability of a token
        assert row["train/rewards/chosen"] == pytest.approx(-0.1 * row["train/nll_loss"], rel=1e-3)


@pytest.mark.slow
def test_the_bundled_model_trains_by_its_own_agreement(tmp_path):
    suite = "--trainer.callbacks.suite.init_args.limit=4"
    statistics, pairs, report = fit(tmp_path, "--data.init_args.strategy.init_args.n=4", suite)
    assert statistics["pairs/count"] == len(pairs) > 0
    assert 0 < statistics["reward/consistency/similarity"] < 1
    assert [entry["when"] for entry in report["evaluations"]] == ["before training", "after round 1"]
