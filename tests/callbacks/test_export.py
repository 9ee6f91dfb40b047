"""The adapter that a run leaves at its end."""

from __future__ import annotations

import shutil

import torch
from lightning import Trainer
from river_rounds import small_rounds, sometimes_right, write_rivers

from longmab_pl.callbacks import AdapterCheckpoint, AdapterExport, RoundReport
from longmab_pl.engines import ScriptedEngine
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings


def fit(run, model, ckpt_path=None):
    module = DPOModule(
        model, lora=LoRASettings(r=2, alpha=4), dtype="fp32", learning_rate=1e-2, gradient_checkpointing=False
    )
    data = small_rounds(ScriptedEngine(sometimes_right), write_rivers(run.parent / "qa.jsonl"), rounds=1)
    data.adopt_phases(module.phases)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        max_epochs=data.total_epochs,
        callbacks=[AdapterCheckpoint(), RoundReport(picture=False, page=False), AdapterExport()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return run / "adapter"


def test_a_run_whose_export_failed_exports_when_it_continues_after_its_last_round(tmp_path, tiny_model):
    adapter = fit(tmp_path / "run", tiny_model)
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(adapter)
    fit(tmp_path / "run", tiny_model, str(tmp_path / "run" / "checkpoints" / "last.ckpt"))
    assert (adapter / "adapter_model.safetensors").read_bytes() == weights
    assert (adapter / "README.md").is_file()
