"""Checkpoints of a run: small files (adapter, optimizer, counters) in one folder, written after Ctrl-C too."""

from __future__ import annotations

import difflib
import logging
import math
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

from lightning import LightningModule, Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.trainer.call import _call_callback_hooks
from lightning.pytorch.utilities import rank_zero_warn

from longmab_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from longmab_pl.callbacks.trainer import data_module_of, is_fast_dev_run
from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.errors import ConfigError, NonFiniteLoss
from longmab_pl.export.export import DESCRIPTION, describe_adapter
from longmab_pl.training.module import DPOModule

log = logging.getLogger(__name__)


class AdapterCheckpoint(ModelCheckpoint):
    """The checkpoints of a run in `<run folder>/checkpoints/`: `last.ckpt`, and `best.ckpt` by a monitored metric.

    `last.ckpt` is also written when training is interrupted.

    The best is chosen at the end of an epoch, after validation and evaluations: `eval/loss`, `eval/rewards/accuracies`
    and their like exist with `data.val_fraction` above 0, `eval/<suite>/<metric>` with an `Evaluation`.
    Held-out pairs are made again in each round, so `eval/...` compares epochs of one round better than it compares
    rounds; an evaluation's questions stay the same. `longmab export` takes the best checkpoint if there is one.

    Args:
        dirpath: folder; None is `checkpoints` in the run folder.
        monitor: metric for `best.ckpt`, e.g. `eval/loss` or `eval/qa/f1`; None keeps the last one only.
        mode: whether the monitored metric is best at its `max` or `min`; None is `min` for losses, else `max`.
        every_n_train_steps: optimizer steps between writes of `last.ckpt` within a round; None: only at an epoch's end.
        train_time_interval: time between writes of `last.ckpt` within a round; None: only at an epoch's end.

    Attributes:
        best: `path`, `monitor`, `value`, `step` and `epoch` of the best so far, or empty.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
    ) -> None:
        # Lightning's own choice of the best is not used: between epochs it takes stale metrics for new ones, and where
        # a step's checkpoint falls on the end of an epoch it skips the epoch's.
        super().__init__(
            dirpath=dirpath,
            filename="step-{step:06d}",
            auto_insert_metric_name=False,
            save_last=True,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=train_time_interval,
            save_on_train_epoch_end=True,
            save_on_exception=True,
            # `last.ckpt` is the last one, also when the folder holds an earlier run's.
            enable_version_counter=False,
        )
        # At an epoch's end too: Lightning's constructor refuses both, its hooks do both.
        self._every_n_epochs = 1
        self.best_by = monitor
        self.best_mode = mode or ("min" if monitor is not None and "loss" in monitor.rpartition("/")[2] else "max")
        self.best: dict[str, Any] = {}
        self._warned = False
        self._owes_epoch_end = False  # the epoch's last batch is done, its evaluations and report are not

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.dirpath is None:
            self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        data = data_module_of(trainer)
        validates = not isinstance(data, PairDataModule) or data.validates
        if stage == "fit" and self.best_by is not None and _is_of_pairs(self.best_by) and not validates:
            raise ConfigError(
                f"checkpoint.monitor is {self.best_by}, but data.val_fraction is 0, so no pair is held out for "
                "validation; set data.init_args.val_fraction (e.g. 0.1), or monitor an evaluation such as eval/qa/f1"
            )
        if "::" in str(self.dirpath):
            raise ConfigError(f"{self.dirpath}: `::` in a folder's name has a meaning of its own; give another name")
        super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not in `setup`: the Trainer does not know at that time whether it resumes.
        assert self.dirpath is not None
        last = Path(self.dirpath) / "last.ckpt"
        if trainer.ckpt_path is None and last.is_file():
            rank_zero_warn(
                f"{last} is an earlier run's, and this one begins again: it will be replaced. To go on from it, stop "
                f"and give --ckpt_path {last}"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self._owes_epoch_end:
            _end_epoch(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save by step or time, and always after an epoch's last batch.

        The evaluations after that batch take long. A run that is interrupted there does not train the epoch again.
        """
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        elif not is_fast_dev_run(trainer):
            self._owes_epoch_end = True
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._owes_epoch_end = False
        if self.best_by is not None and not is_fast_dev_run(trainer):
            self._keep_best(trainer)
        # The step has a checkpoint, from before the epoch's end; Lightning would not write another.
        self._last_global_step_saved = -1
        super().on_train_epoch_end(trainer, pl_module)

    def _keep_best(self, trainer: Trainer) -> None:
        assert self.best_by is not None
        assert self.dirpath is not None
        found = trainer.callback_metrics.get(self.best_by)
        if found is None:
            self._say_missing(trainer)
            return
        # All ranks decide the same: what rank 0 saw counts.
        value = float(trainer.strategy.broadcast(float(found)))
        if math.isnan(value) or (self.best and not self._better(value, self.best["value"])):
            return
        path = Path(self.dirpath) / "best.ckpt"
        self.best = {
            "path": str(path),
            "monitor": self.best_by,
            "value": value,
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
        }
        trainer.save_checkpoint(path)

    def _better(self, value: float, than: float) -> bool:
        # A metric that was not measured again is equal to itself, so it never replaces the best.
        return value < than if self.best_mode == "min" else value > than

    def _say_missing(self, trainer: Trainer) -> None:
        if self._warned:
            return
        self._warned = True
        names = sorted(trainer.callback_metrics)
        close = difflib.get_close_matches(str(self.best_by), names, n=1, cutoff=0.6)
        log.warning(
            "checkpoint.monitor is %s, which nothing has logged so far, so there is no best.ckpt yet%s. Logged are: %s",
            self.best_by,
            f" (did you mean {close[0]}?)" if close else "",
            ", ".join(names),
        )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if isinstance(pl_module, DPOModule) and pl_module.policy is not None:
            checkpoint[DESCRIPTION] = describe_adapter(pl_module.policy, pl_module.model)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, NonFiniteLoss):
            return  # the last checkpoint is better than these weights
        if not self._owes_epoch_end:  # else the checkpoint after its last batch is where the epoch's end begins again
            self._owes_epoch_end = _is_after_last_batch(trainer)
            super().on_exception(trainer, pl_module, exception)
        if isinstance(exception, KeyboardInterrupt) and self.last_model_path and trainer.is_global_zero:
            print(f"\nStopped. The same command with --ckpt_path {self.last_model_path} goes on from here.")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "best": self.best, "owes_epoch_end": self._owes_epoch_end}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._owes_epoch_end = state_dict.get("owes_epoch_end", False)
        best = state_dict.get("best") or {}
        # Another metric, or a folder without that file, starts a new comparison.
        if self.dirpath and best.get("monitor") == self.best_by and (Path(self.dirpath) / "best.ckpt").is_file():
            self.best = {**best, "path": str(Path(self.dirpath) / "best.ckpt")}


def _is_after_last_batch(trainer: Trainer) -> bool:
    """Return whether the epoch's last batch has been trained and the epoch has not ended."""
    batches = trainer.fit_loop.epoch_loop.batch_progress
    batch = cast(_ProcessedTracker, batches.current)
    epoch = cast(_ProcessedTracker, trainer.fit_loop.epoch_progress.current)
    return batches.is_last_batch and batch.processed == batch.ready and epoch.processed < epoch.started


def _end_epoch(trainer: Trainer) -> None:
    """End an epoch whose last batch was trained by an earlier process: run its hooks, and begin the next as usual.

    Lightning restores such a checkpoint as if the epoch had ended, but would begin the next one in the middle: it takes
    the finished batches for the next epoch's unless that has as many or fewer.
    """
    fit = trainer.fit_loop
    epoch, batches = fit.epoch_progress, fit.epoch_loop.batch_progress
    batches.increment_completed()
    fit.epoch_loop._batches_that_stepped += 1
    for tracker in (epoch.total, epoch.current):  # as they are within the hooks
        tracker.completed -= 1
    try:
        trainer._logger_connector.epoch_end_reached()
        for monitoring in (False, True):
            _call_callback_hooks(trainer, "on_train_epoch_end", monitoring_callbacks=monitoring)
        trainer._logger_connector.on_epoch_end()
        trainer._logger_connector.update_train_epoch_metrics()
    finally:
        for tracker in (epoch.total, epoch.current):
            tracker.completed += 1
    fit.restarting = False
    for loop in (fit, fit.epoch_loop, fit.epoch_loop.val_loop):
        loop.reset_restart_stage()


def _is_of_pairs(metric: str) -> bool:
    """Return whether a metric is measured on held-out pairs, and not by an evaluation (`eval/<suite>/<metric>`)."""
    return re.match(r"eval/(loss$|nll_loss$|tokens$|rewards/|logps/|logits/|[a-z_]+/loss$)", metric) is not None
