"""The progress of training on the console: the round, its batches and the main metrics."""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from longmab_pl.callbacks.trainer import data_module_of
from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.live import Bar

SHOWN = {"loss": "loss", "rewards/accuracies": "accuracy", "rewards/margins": "margin"}
"""Metrics beside the bar, and what they are called there."""


class RoundProgressBar(ProgressBar):
    """A bar for each epoch, named after the round, with the means of the epoch so far; in a file, a line at intervals.

    Rollout and evaluation draw bars of the same kind. One bar is shown at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Bar | None = None
        self._hidden = False
        self._begun = False
        self._sums: dict[str, float] = {}
        self._pairs = 0

    def disable(self) -> None:
        self._hidden = True

    def enable(self) -> None:
        self._hidden = False

    def on_train_epoch_start(self, *_: Any) -> None:
        self._bar = None
        self._begun = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._begun:  # Lightning does not come here in the step of a round without a pair, which trains nothing
            return
        self._begun = True
        data = data_module_of(trainer)
        title = data.stage_name() if isinstance(data, PairDataModule) else f"epoch {trainer.current_epoch + 1} training"
        if not math.isfinite(self.total_train_batches):  # another's data, whose length is unknown
            return
        self._sums, self._pairs = {}, 0
        self._bar = Bar(title, int(self.total_train_batches), "batches", hidden=self._hidden)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is None:
            return
        shown = self.get_metrics(trainer, pl_module)
        pairs = len(batch) if isinstance(batch, Sized) else 1
        self._pairs += pairs
        for key, name in SHOWN.items():
            value = shown.get(key)
            if isinstance(value, int | float):
                self._sums[name] = self._sums.get(name, 0.0) + pairs * value
        note = ", ".join(f"{name} {total / max(self._pairs, 1):.3f}" for name, total in self._sums.items())
        self._bar.update(batch_idx + 1 - self._bar.done, note)
        if trainer.is_last_batch:
            # Before the epoch's end, where evaluations run and draw theirs.
            self._close()

    def on_exception(self, *_: Any) -> None:
        self._close()

    def on_train_end(self, *_: Any) -> None:
        self._close()

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("train/"): value for name, value in metrics.items()}

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
