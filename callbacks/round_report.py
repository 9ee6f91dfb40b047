"""The report of a run: a table by round and a picture, both also as files in the run folder."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from longmab_pl.callbacks.evaluation import Evaluation
from longmab_pl.callbacks.trainer import callbacks_of
from longmab_pl.datamodules.base import rounds_of
from longmab_pl.errors import LongMabError
from longmab_pl.reporting.console import wide_console
from longmab_pl.reporting.figures import draw
from longmab_pl.reporting.html.page import write_page
from longmab_pl.reporting.run_record import RoundCost, RunRecord
from longmab_pl.reporting.run_report import RunReport, evaluations_table, round_table
from longmab_pl.rollout.round_folder import ROUNDS
from longmab_pl.training.module import DPOModule

log = logging.getLogger(__name__)

WATCHED = ("loss", "rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected", "nll_loss")
"""Training metrics whose mean over the epoch goes into the report."""


class RoundReport(Callback):
    """The report of a run: `report.json` after every epoch; at the end the closing tables, `report.png`, `report.html`.

    Versions, seconds by round and peak memory are in `run.json`.

    Args:
        picture: whether to draw `report.png` (reward by pull, share of pulls by arm, evaluation by round).
        page: whether to write `report.html`, a page with all of the run.
    """

    def __init__(self, picture: bool = True, page: bool = True) -> None:
        self.picture = picture
        self.page = page
        self.rows: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._batches = 0
        self._at_step: dict[str, Any] = {"sums": {}, "batches": 0}
        self._record = RunRecord()
        self._seen = RoundCost()  # this process's seconds that the record holds already
        self._training = 0.0  # this process's seconds of training
        self._began = self._evaluated = 0.0

    def state_dict(self) -> dict[str, Any]:
        # A resumed run repeats the batches of an optimizer step that was not finished.
        return {"rows": self.rows, **self._at_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]
        self._sums, self._batches = dict(state_dict["sums"]), state_dict["batches"]
        self._keep_sums()

    def _keep_sums(self) -> None:
        self._at_step = {"sums": dict(self._sums), "batches": self._batches}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and trainer.ckpt_path is not None:
            self._record = RunRecord.load(Path(trainer.default_root_dir))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.rows:
            self._write_record(trainer, 0, rollout=False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = rounds_of(trainer)
        if data.rollout_seconds > self._seen.rollout:  # at once, so that an interrupted round has its rollout's seconds
            self._write_record(trainer, data.report_row()["round"])
            if self.rows:
                self._write(trainer)  # with an evaluation that was asked beside the rollout

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._began, self._evaluated = time.monotonic(), _evaluation_seconds(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch is None:  # the step of a round without a pair
            return
        self._training += time.monotonic() - self._began - (_evaluation_seconds(trainer) - self._evaluated)
        self._batches += 1
        logged = pl_module.logged if isinstance(pl_module, DPOModule) else frozenset(trainer.callback_metrics)
        for name in WATCHED:
            if f"train/{name}" in logged:
                self._sums[name] = self._sums.get(name, 0.0) + float(trainer.callback_metrics[f"train/{name}"])
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch:
            self._keep_sums()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        row = rounds_of(trainer).report_row()
        row |= {f"train/{name}": total / max(self._batches, 1) for name, total in self._sums.items()}
        self._sums, self._batches = {}, 0
        self._keep_sums()
        if self.rows and self.rows[-1]["round"] == row["round"]:
            self.rows.pop()  # a later epoch of the same round: its training numbers are the newer ones
        self.rows.append(row)
        self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)  # with the evaluation of a run that stopped within a round

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.rows:
            return
        run = Path(trainer.default_root_dir)
        report = self._write(trainer)
        console = wide_console()
        console.print()
        console.print(round_table(report))
        if report.has_more_evaluations():
            console.print(evaluations_table(report))
        for wanted, name, file, write in (
            (self.picture, "picture", "report.png", draw),
            (self.page, "report", "report.html", write_page),
        ):
            if not wanted:
                continue
            try:
                console.print(f"{name:<10} {write(run)}", soft_wrap=True)
            except LongMabError as error:  # the adapter is exported all the same
                log.warning("no %s: %s", file, error)
        if (run / ROUNDS).is_dir():
            console.print(f"pairs      {run / ROUNDS}", soft_wrap=True)
        if trainer.global_step > 0:
            console.print(f"adapter    {run / 'adapter'}", soft_wrap=True)
        else:
            console.print("adapter    none: no round had a pair to train on")

    def _write(self, trainer: Trainer) -> RunReport:
        evaluations = [entry for callback in callbacks_of(trainer, Evaluation) for entry in callback.history]
        report = RunReport(self.rows, sorted(evaluations, key=lambda entry: (entry.step, entry.round)))
        if trainer.is_global_zero:
            report.save(Path(trainer.default_root_dir))
            self._write_record(trainer, self.rows[-1]["round"] if self.rows else 0)
        return report

    def _write_record(self, trainer: Trainer, number: int, rollout: bool = True) -> None:
        """Add the seconds since the last call to a round's, and write `run.json`."""
        if not trainer.is_global_zero:
            return
        data, seen = rounds_of(trainer), self._seen
        # The first round is rolled out before training starts, and belongs to round 1 nevertheless.
        now = RoundCost(data.rollout_seconds if rollout else seen.rollout, self._training, _evaluation_seconds(trainer))
        spent = RoundCost(now.rollout - seen.rollout, now.training - seen.training, now.evaluation - seen.evaluation)
        self._seen = now
        seeds = {"data.seed": data.seed}
        if (seed := os.environ.get("PL_GLOBAL_SEED")) is not None:  # set by Lightning's seed_everything
            seeds["seed_everything"] = int(seed)
        self._record = self._record.spent(number, spent).of_this_process(seeds)
        self._record.save(Path(trainer.default_root_dir))


def _evaluation_seconds(trainer: Trainer) -> float:
    return sum(callback.seconds for callback in callbacks_of(trainer, Evaluation))
