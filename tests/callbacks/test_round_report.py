"""The training numbers of the report's rows: those of the round's last phase, each batch counted once."""

from __future__ import annotations

import json

import pytest
import torch
from lightning import Callback, Trainer
from river_rounds import small_rounds, sometimes_right, write_rivers

from longmab_pl.callbacks import AdapterCheckpoint, RoundReport
from longmab_pl.engines import ScriptedEngine
from longmab_pl.training.module import DPOModule
from longmab_pl.training.phases import PreferencePhase, SFTPhase
from longmab_pl.training.policy import LoRASettings


class StopAfterBatch(Callback):
    def __init__(self, batch_idx):
        self.batch_idx = batch_idx

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == self.batch_idx:
            raise RuntimeError("stopped")


def make(run, model, *callbacks, phases=None, accumulate=1):
    module = DPOModule(
        model,
        phases=phases,
        lora=LoRASettings(r=2, alpha=4),
        dtype="fp32",
        learning_rate=1e-2,
        gradient_checkpointing=False,
    )
    data = small_rounds(ScriptedEngine(sometimes_right), write_rivers(run.parent / "qa.jsonl"), rounds=1)
    data.adopt_phases(module.phases)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        max_epochs=data.total_epochs,
        accumulate_grad_batches=accumulate,
        callbacks=[RoundReport(picture=False), *callbacks],
        logger=False,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(1)
    return trainer, module, data


def row(run):
    (only,) = json.loads((run / "report.json").read_text())["rounds"]
    return only


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_a_run_resumed_within_an_optimizer_step_counts_its_batches_once(tmp_path, tiny_model, stop):
    trainer, module, data = make(tmp_path / "whole", tiny_model, AdapterCheckpoint(), accumulate=3)
    trainer.fit(module, datamodule=data)
    cut = tmp_path / "cut"
    trainer, module, data = make(cut, tiny_model, AdapterCheckpoint(), StopAfterBatch(stop), accumulate=3)
    with pytest.raises(RuntimeError, match="stopped"):
        trainer.fit(module, datamodule=data)
    trainer, module, data = make(cut, tiny_model, AdapterCheckpoint(), accumulate=3)
    trainer.fit(module, datamodule=data, ckpt_path=str(cut / "checkpoints" / "last.ckpt"))
    assert row(cut) == row(tmp_path / "whole")


def test_a_phase_that_follows_another_shows_its_own_numbers_only(tmp_path, tiny_model):
    trainer, module, data = make(tmp_path / "run", tiny_model, phases=[PreferencePhase(), SFTPhase()])
    trainer.fit(module, datamodule=data)
    trained = {name for name in row(tmp_path / "run") if name.startswith("train/")}
    assert "train/loss" in trained
    assert not {"train/rewards/accuracies", "train/rewards/margins"} & trained


def test_a_picture_and_a_page_that_cannot_be_written_do_not_end_a_run(tmp_path, tiny_model, caplog):
    run = tmp_path / "run"
    for name in ("report.png", "report.html"):
        (run / name / "in the way").mkdir(parents=True)
    trainer, module, data = make(run, tiny_model)
    (report,) = (callback for callback in trainer.callbacks if isinstance(callback, RoundReport))
    report.picture = True
    trainer.fit(module, datamodule=data)
    assert row(run)["round"] == 1
    assert f"no report.png: cannot write {run / 'report.png'}" in caplog.text
    assert f"no report.html: cannot write {run / 'report.html'}" in caplog.text


def test_a_run_interrupted_in_its_first_round_keeps_the_seconds_of_the_rollout(tmp_path, tiny_model):
    class Stop(Callback):
        def on_train_batch_start(self, *_):
            raise KeyboardInterrupt

    run = tmp_path / "run"
    trainer, module, data = make(run, tiny_model, Stop())
    with pytest.raises(SystemExit):
        trainer.fit(module, datamodule=data)
    costs = json.loads((run / "run.json").read_text())["costs"]
    assert costs["1"]["rollout"] == pytest.approx(data.rollout_seconds)
    assert costs["1"]["rollout"] > 0
