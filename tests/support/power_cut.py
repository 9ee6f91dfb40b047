"""A training run that dies at a chosen step."""

from __future__ import annotations

from lightning import Callback


class PowerCut(Callback):
    """Dies like Ctrl-C would, in the middle of an epoch."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            raise RuntimeError("power cut")
