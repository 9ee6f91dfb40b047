"""A whole fit in one or several processes, for tests: scripted answers, a tiny model, Lightning's own strategies.

Started as a program: `python distributed_fit.py RUN MODEL QA_FILE OPTIONS_JSON`. Every rank writes what it saw to
`RUN/seen-<rank>.json`.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from river_rounds import small_rounds, sometimes_right

from longmab_pl.callbacks import AdapterCheckpoint, AdapterExport, Evaluation, RoundReport
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.evaluation import QASuite
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings


def answer(request: Request, i: int) -> str:
    if not all(part.isdigit() for part in request.id.split("/")):  # an evaluation asks
        return " number 1"
    return sometimes_right(request, i)


class Seen(Callback):
    """Losses and pairs of every batch of this rank."""

    def __init__(self) -> None:
        self.batches: list[dict] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        row = {"step": trainer.global_step, "loss": float(outputs["loss"]), "pairs": list(batch.ids)}
        logged = float(trainer.callback_metrics["train/loss"])
        self.batches.append(row | {"epoch": trainer.current_epoch, "logged": logged})


class StopAfter(Callback):
    """Ends the run after so many epochs, as if it had been stopped there."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        if trainer.current_epoch + 1 == self.epochs:
            trainer.should_stop = True


def fit(run: Path, model: str, qa_file: Path, options: dict) -> None:
    """Train as the options say; see the keys read here."""
    seed_everything(options.get("seed", 0))
    torch.set_num_threads(1)
    devices = options.get("devices", 1)
    engine = ScriptedEngine(answer)
    module = DPOModule(
        model,
        lora=LoRASettings(r=2, alpha=4),
        dtype="fp32",
        learning_rate=1e-2,
        reference=options.get("reference", "base"),
        gradient_checkpointing=options.get("gradient_checkpointing", False),
        precompute_reference=options.get("precompute_reference", "auto"),
        sequence_parallel=options.get("sequence_parallel", 1),
    )
    data = small_rounds(
        engine,
        qa_file,
        rounds=options.get("rounds", 2),
        epochs_per_round=options.get("epochs_per_round", 1),
        batch_size=options.get("batch_size", 1),
        records_per_round=options.get("records_per_round", 8),
    )
    seen = Seen()
    callbacks: list[Callback] = [seen, AdapterCheckpoint(), AdapterExport(), RoundReport(picture=False)]
    if options.get("stop_after_epochs"):
        callbacks.append(StopAfter(options["stop_after_epochs"]))
    if options.get("evaluate"):
        suite = QASuite(str(qa_file), limit=4, sampling=Sampling(temperature=0.0, max_tokens=8))
        callbacks.append(Evaluation(suite))
    patience = {"process_group_backend": "gloo", "timeout": timedelta(seconds=120)}
    strategies: dict[str, Any] = {
        "auto": lambda: "auto",
        "ddp": lambda: DDPStrategy(**patience),
        "fsdp": lambda: ModelParallelStrategy(devices, 1, save_distributed_checkpoint=False, **patience),
    }
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=strategies[options.get("strategy", "auto")](),
        default_root_dir=str(run),
        max_epochs=data.rounds * data.epochs_per_round,
        max_steps=options.get("max_steps", -1),
        accumulate_grad_batches=options.get("accumulate", 1),
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(module, datamodule=data, ckpt_path=options.get("ckpt_path"))
    trained = ((name, p.detach()) for name, p in module.named_parameters() if p.requires_grad)
    adapter = {name: (p.full_tensor() if hasattr(p, "full_tensor") else p).tolist() for name, p in trained}
    row = {"batches": seen.batches, "adapter": adapter, "asked": len(engine.asked), "steps": trainer.global_step}
    (run / f"seen-{trainer.global_rank}.json").write_text(json.dumps(row))


if __name__ == "__main__":
    fit(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4]))
