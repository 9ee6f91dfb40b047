"""A whole fit in seconds: tiny random model, real DPO steps, an engine whose evaluation answers follow a script."""

from __future__ import annotations

import json

from lightning import Trainer
from river_rounds import small_rounds, sometimes_right

from longmab_pl.callbacks import AdapterCheckpoint
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Request
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings


def rows(n, start=0):
    for i in range(start, start + n):
        context = " ".join(f"The town of place {j} lies on river number {i * 10 + j}. It is old." for j in range(4))
        yield {"id": i, "input": f"Which river at {i}?", "answer": f"number {i * 10 + i % 4}", "context": context}


def write(path, listed):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in listed))
    return path


class LearningEngine(ScriptedEngine):
    """Answers `right[k]` of the 8 evaluation questions of a task after the k-th new adapter (the last one stays)."""

    def __init__(self, right=(2, 6, 4, 4), **options):
        super().__init__(self.say, **options)
        self.right = right

    def say(self, request: Request, i: int) -> str:
        if request.id.startswith("evaluation/"):
            *_, task, position = request.id.split("/")
            known = self.right[min(len(self.synced), len(self.right) - 1)]
            number = {"hotpotqa": 100, "musique": 200}.get(task, 0) + int(position)
            return f"river {number}" if int(position) < known else "no idea"
        return sometimes_right(request, i)

    @property
    def evaluated(self):
        return [request.id for request in self.asked if request.id.startswith("evaluation/")]


def fit(run, model, qa_file, *callbacks, engine=None, ckpt=None, logger=False, accumulate=1, max_steps=-1, **data):
    engine = engine or LearningEngine()
    module = DPOModule(
        model, lora=LoRASettings(r=2, alpha=4), dtype="fp32", learning_rate=1e-2, gradient_checkpointing=False
    )
    datamodule = small_rounds(engine, qa_file, **data)
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=str(run),
        max_epochs=datamodule.rounds * datamodule.epochs_per_round,
        callbacks=list(callbacks),
        logger=logger,
        enable_checkpointing=any(isinstance(c, AdapterCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        accumulate_grad_batches=accumulate,
        max_steps=max_steps,
    )
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt)
    return trainer, engine
