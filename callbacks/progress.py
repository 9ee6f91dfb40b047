"""The progress bar of training: the round, its progress and the metrics."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from longmab_pl.callbacks.trainer import data_module_of
from longmab_pl.datamodules.base import PairDataModule


class RoundProgressBar(TQDMProgressBar):
    """Lightning's tqdm bar, one for each epoch and named after the round.

    Rollout and evaluation draw bars of the same kind, so each bar is closed before the next is opened.
    """

    def __init__(self) -> None:
        super().__init__(leave=True)

    def on_train_start(self, *args: Any) -> None:
        super().on_train_start(*args)
        # Every epoch opens a bar of its own; the one opened here would stay as an empty line.
        self.train_progress_bar.leave = False
        self.train_progress_bar.close()

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        data = data_module_of(trainer)
        if isinstance(data, PairDataModule):
            self.train_progress_bar.set_description(data.stage_name())

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *rest)
        if trainer.is_last_batch:
            # Before the epoch's end, where evaluations run and draw theirs.
            self.train_progress_bar.close()

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {name.removeprefix("rewards/"): value for name, value in metrics.items()}
