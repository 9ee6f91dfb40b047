"""Checkpoints of a run: small (adapter, optimizer and clocks only), in one known place, also after Ctrl-C."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class AdapterCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint with this package's defaults: `<run folder>/checkpoints/`, the last one always kept,
    one more when training is interrupted.

    Args:
        dirpath: folder; None is `checkpoints` in the run folder.
        monitor: metric for the best checkpoint, e.g. `eval/f1`; None keeps the latest.
        mode: whether the monitored metric is best at its `max` or `min`.
        save_top_k: how many of the best to keep.
        every_n_train_steps: also within a round, every so many optimizer steps.
        train_time_interval: also within a round, every so much time.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "max",
        save_top_k: int = 1,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="step-{step:06d}",
            auto_insert_metric_name=False,
            monitor=monitor,
            mode=mode,
            save_last=True,
            save_top_k=save_top_k,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=train_time_interval,
            save_on_train_epoch_end=None if every_n_train_steps or train_time_interval else True,
            save_on_exception=True,
            # `last.ckpt` is the last one, also when the folder holds an earlier run's.
            enable_version_counter=False,
        )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        if isinstance(exception, KeyboardInterrupt) and self.last_model_path and trainer.is_global_zero:
            print(f"\nStopped. The same command with --ckpt_path {self.last_model_path} goes on from here.")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.dirpath is None:
            self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)
