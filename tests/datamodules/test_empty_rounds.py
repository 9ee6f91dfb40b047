"""Rounds without a pair to train on: the run goes on, ends, resumes, and says what to change."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from lightning import Callback, Trainer
from power_cut import PowerCut
from river_rounds import small_rounds, sometimes_right, write_rivers
from small_config import write_config

from longmab_pl.callbacks import AdapterCheckpoint, AdapterExport, Evaluation, RoundReport
from longmab_pl.cli.main import main
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation import QASuite
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer, ReasonThenAnswer
from longmab_pl.rewards import AnswerMatch
from longmab_pl.rollout.no_pairs import no_pairs
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.strategies.best_of_n import BestOfN
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings

ROUND = 8 * 4
"""Requests of a round."""


class Rivers(ScriptedEngine):
    """Answers that differ in reward, but in the rounds `empty` (from 0), where all are equally wrong."""

    def __init__(self, empty, first_round=0):
        super().__init__(self.say)
        self.empty, self.first_round = empty, first_round

    def say(self, request, i):
        asked = [r.id for r in self.asked if r.id.split("/")[0].isdigit()]
        if request.id not in asked:
            return " nothing"  # an evaluation's
        round = self.first_round + (len(asked) - 1) // ROUND
        return " no idea" if round in self.empty else sometimes_right(request, i)


def make(run, model, empty, *callbacks, first_round=0, accumulate=1, **data):
    engine = Rivers(empty, first_round)
    lora = LoRASettings(r=2, alpha=4)
    module = DPOModule(model, lora=lora, dtype="fp32", learning_rate=1e-2, gradient_checkpointing=False)
    datamodule = small_rounds(engine, write_rivers(run.parent / "qa.jsonl"), **data)
    report = RoundReport(picture=False)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        max_epochs=datamodule.rounds * datamodule.epochs_per_round,
        accumulate_grad_batches=accumulate,
        callbacks=[report, *callbacks, AdapterCheckpoint(every_n_train_steps=1), AdapterExport()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    return trainer, module, datamodule


def rows(run):
    return json.loads((run / "report.json").read_text())["rounds"]


def weights(module):
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("empty", "epochs"), [({0}, 1), ({1}, 2), ({2}, 1), ({0, 1, 2}, 1)])
def test_a_round_without_a_pair_changes_nothing_and_the_next_goes_on(tmp_path, tiny_model, empty, epochs, caplog):
    run = tmp_path / "run"
    trainer, module, data = make(run, tiny_model, empty, accumulate=2, epochs_per_round=epochs)
    trainer.fit(module, datamodule=data)
    for number in range(3):
        assert (f"round {number + 1} trains on nothing" in caplog.text) == (number in empty)
    assert [row["round"] for row in rows(run)] == [1, 2, 3]
    for number, row in enumerate(rows(run)):
        assert (row["pairs/count"] == 0) == (number in empty)
        assert ("train/loss" in row) == (number not in empty), "no numbers of an earlier round"
    summaries = [json.loads(file.read_text()) for file in sorted(run.glob("rounds/*/round.json"))]
    for number in empty - {2}:
        assert summaries[number]["policy"] == summaries[number + 1]["policy"], "nothing was trained"
    assert (run / "adapter").exists() == (len(empty) < 3)
    assert trainer.current_epoch == 3 * epochs


@pytest.mark.parametrize(("empty", "stops"), [({0}, [1]), ({1}, [0, 1])])
def test_resumed_after_and_within_the_rounds_beside_it_equals_uninterrupted(tmp_path, tiny_model, empty, stops):
    trainer, module, data = make(tmp_path / "whole", tiny_model, empty, accumulate=2)
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    whole, steps = weights(module), trainer.global_step
    for stop in (steps // 2 + more for more in stops):  # the last step before, and the first after the empty round
        run = tmp_path / f"cut{stop}"
        trainer, module, data = make(run, tiny_model, empty, PowerCut(stop), accumulate=2)
        torch.manual_seed(1)
        with pytest.raises(RuntimeError, match="power cut"):
            trainer.fit(module, datamodule=data)
        made = len(list(run.glob("rounds/*/round.json")))
        trainer, module, data = make(run, tiny_model, empty, accumulate=2, first_round=made)
        trainer.fit(module, datamodule=data, ckpt_path=str(run / "checkpoints" / "last.ckpt"))
        assert trainer.global_step == steps
        for name, value in weights(module).items():
            assert torch.equal(value, whole[name]), (stop, name)
        assert rows(run) == rows(tmp_path / "whole"), stop


class Interrupt(Callback):
    """Stops as Ctrl-C does at the end of a round, before its evaluation and report."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("empty", [{0}, {2}])
def test_interrupted_at_the_end_of_an_empty_round_its_row_and_evaluation_are_there(tmp_path, tiny_model, empty):
    (number,) = empty

    def evaluation():
        suite = QASuite(str(tmp_path / "qa.jsonl"), limit=3, sampling=Sampling(temperature=0.0, max_tokens=8))
        return Evaluation(suite, keep_best="best_adapter")

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer, module, data = make(whole, tiny_model, empty, evaluation())
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    uninterrupted = weights(module)
    trainer, module, data = make(cut, tiny_model, empty, Interrupt(number), evaluation())
    torch.manual_seed(1)
    with pytest.raises(SystemExit):  # Lightning's own way out of Ctrl-C
        trainer.fit(module, datamodule=data)
    trainer, module, data = make(cut, tiny_model, empty, evaluation(), first_round=number + 1)
    trainer.fit(module, datamodule=data, ckpt_path=str(cut / "checkpoints" / "last.ckpt"))
    assert [row["round"] for row in rows(cut)] == [1, 2, 3]
    reports = [json.loads((run / "report.json").read_text())["evaluations"] for run in (cut, whole)]
    for report in reports:
        assert [entry["when"] for entry in report if entry["task"] is None] == [
            "before training",
            "after round 1",
            "after round 2",
            "after round 3",
        ]
    assert [entry["step"] for entry in reports[0]] == [entry["step"] for entry in reports[1]]
    for name, value in weights(module).items():
        assert torch.equal(value, uninterrupted[name]), name


def test_the_command_ends_with_status_0_and_keeps_the_adapter_of_the_rounds_before(
    tmp_path, tiny_model, monkeypatch, capsys
):
    (tmp_path / "two_rounds.py").write_text(
        "asked = []\n"
        "def say(request, i):\n"
        "    asked.append(request.id)\n"
        "    number = len(asked) % 3\n"
        "    return f' number {int(request.id.split(chr(47))[0]) * 10 + number}' if len(asked) <= 24 else ' no idea'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = write_config(tmp_path, tiny_model)
    settings = yaml.safe_load(config.read_text())
    settings["trainer"]["enable_progress_bar"] = True
    settings["data"]["init_args"] |= {"rounds": 2}
    settings["data"]["init_args"]["engine"]["init_args"] = {"answer": "two_rounds.say"}
    config.write_text(yaml.safe_dump(settings))
    main(["fit", "--config", str(config)])
    said = capsys.readouterr()
    assert "round 2 trains on nothing" in said.err
    assert "round 1/2 training: 100%" in said.err
    assert "round 2/2 training" not in said.err, "no bar of a step that trains nothing"
    run = tmp_path / "run"
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
    assert [row["pairs/count"] > 0 for row in rows(run)] == [True, False]
    assert "0 (0%)" in said.out
    # Started again over the same folder, the rounds are found and it ends the same.
    main(["fit", "--config", str(config), "--ckpt_path", "last"])
    assert len(rows(run)) == 2


def test_the_command_without_any_pair_ends_with_a_report_and_says_that_there_is_no_adapter(
    tmp_path, tiny_model, monkeypatch, capsys
):
    (tmp_path / "no_idea.py").write_text("def say(request, i):\n    return ' no idea'\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = write_config(tmp_path, tiny_model)
    engine = {"class_path": "longmab_pl.engines.ScriptedEngine", "init_args": {"answer": "no_idea.say"}}
    main(["fit", "--config", str(config), "--data.init_args.engine", json.dumps(engine)])
    said = capsys.readouterr()
    (message,) = [line for line in said.err.splitlines() if "trains on nothing" in line]
    assert "rollouts.jsonl" in message
    assert "DirectAnswer" not in message, "that is set already"
    assert "strategy.pulls (now 4)" in message
    assert not (tmp_path / "run" / "adapter").exists()
    assert "adapter    none" in said.out
    assert [row["pairs/count"] for row in rows(tmp_path / "run")] == [0]


def plan(prompt_format=None, reward=None, strategy=None, pairs=None):
    return RoundPlan(
        strategy or BestOfN(4, Sampling(temperature=0.7)),
        (reward or AnswerMatch(),),
        prompt_format or ReasonThenAnswer(),
        pairs or BestWorst(),
        Embedder(),
    )


def statistics(reward=0.0, stated=1.0, made=0.0, failed=0.0):
    return {
        "rollout/records": 8.0,
        "rollout/failed_records": failed,
        "rollout/responses": 32.0,
        "rollout/reward": reward,
        "reward/answer_match/in_format": stated,
        "pairs/count": made,
    }


@pytest.mark.parametrize(
    ("settings", "numbers", "says", "not_says"),
    [
        ({}, {"stated": 0.1}, ["10% of the responses", "DirectAnswer", "temperature (now 0.7)"], ["lenient"]),
        ({"prompt_format": DirectAnswer()}, {"stated": 0.1}, ["style lenient"], ["DirectAnswer"]),
        ({"reward": AnswerMatch(style="lenient"), "prompt_format": DirectAnswer()}, {"stated": 0.1}, [], ["lenient"]),
        ({"strategy": BestOfN(4, Sampling(temperature=1.0))}, {}, ["strategy.n (now 4)"], ["temperature", "Direct"]),
        ({"pairs": BestWorst(min_margin=0.9)}, {"reward": 0.4}, ["min_margin (now 0.9)", "more records"], ["easier"]),
        ({}, {"reward": 0.99}, ["harder questions"], ["easier"]),
        ({}, {"reward": 0.0}, ["easier questions"], ["harder"]),
        ({}, {"failed": 8.0}, ["all of its 8 records failed"], ["temperature"]),
        ({}, {"made": 5.0}, ["all of its 5 pairs are left out"], ["temperature"]),
    ],
)
def test_the_advice_names_settings_that_are_not_set_that_way_already(settings, numbers, says, not_says):
    message = no_pairs(plan(**settings), 0, statistics(**numbers))
    assert message.startswith("round 1 trains on nothing")
    for text in says:
        assert text in message
    for text in not_says:
        assert text not in message


def test_pairs_that_are_all_held_out_are_not_blamed_on_rewards(tmp_path, tiny_model, caplog):
    trainer, module, data = make(tmp_path / "run", tiny_model, set(), rounds=1, val_fraction=0.99)
    trainer.fit(module, datamodule=data)
    assert "pairs are held out for validation; lower data.val_fraction" in caplog.text
