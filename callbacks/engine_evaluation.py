"""What evaluations on the rollouts' own engine have in common: when they run, with which adapter, what they keep."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.contamination import find_contamination
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.task import EvaluationTask

log = logging.getLogger(__name__)


class EngineEvaluation(Callback, ABC):
    """Runs evaluation tasks before training and after rounds, on the engine that the rollouts use, with the current
    adapter.

    At set-up it warns where evaluation questions or contexts occur in the training records.

    Args:
        before_training: evaluate the policy once before the first round.
        every_n_rounds: evaluate after every so many rounds; None leaves only what `at_end` asks for.
        at_end: evaluate after the last round, whatever its number.

    Attributes:
        history: an entry for every evaluation: when, round, step and its scores.
    """

    def __init__(self, before_training: bool, every_n_rounds: int | None, at_end: bool) -> None:
        if every_n_rounds is not None and every_n_rounds < 1:
            raise ConfigError(f"{type(self).__name__}.every_n_rounds is {every_n_rounds}; it must be at least 1")
        self.before_training = before_training
        self.every_n_rounds = every_n_rounds
        self.at_end = at_end
        self.history: list[dict[str, Any]] = []
        self.tasks: Sequence[EvaluationTask] = ()

    # what an evaluation must say

    @abstractmethod
    def read_tasks(self, trainer: Trainer) -> Sequence[EvaluationTask]:
        """The tasks with their records; called once, on every rank."""

    @abstractmethod
    def folder(self, trainer: Trainer, name: str) -> Path:
        """Where the predictions of the evaluation of this name go."""

    @abstractmethod
    def keep(self, trainer: Trainer, result: EvaluationResult, entry: dict[str, Any], folder: Path) -> dict[str, float]:
        """Write down a result (rank 0 only; `entry` is its when, round and step) and give the scores to log."""

    # when

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or self.tasks:
            return
        self.tasks = self.read_tasks(trainer)
        training = getattr(trainer.datamodule, "records", None)  # type: ignore[attr-defined]
        if training and trainer.is_global_zero:
            found = find_contamination(training, {task.name: task.records for task in self.tasks})
            if found:
                log.warning("%s", found.message())

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.before_training or self.history:
            return
        # A callback that is new in a resumed run has no history either, and the policy is no longer the base model.
        if trainer.ckpt_path is None or trainer.datamodule.policy.adapter_is_identity():  # type: ignore[attr-defined]
            self.run(trainer, "before training", 0, "after-round-0")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        rounds, rest = divmod(data.epochs_done, data.epochs_per_round)
        every = self.every_n_rounds is not None and rounds % self.every_n_rounds == 0
        if rest == 0 and (every or (self.at_end and rounds == data.rounds)):
            scores = self.run(trainer, f"after round {rounds}", rounds, f"after-round-{rounds}")
            # Also through Lightning's own log, so that a checkpoint can be chosen by it.
            pl_module.log_dict(scores, on_step=False, on_epoch=True, logger=False)

    def run(self, trainer: Trainer, when: str, rounds: int, name: str) -> dict[str, float]:
        """Evaluate the present policy, log its scores and note them in the history; the scores, on every rank."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        entry: dict[str, Any] = {"when": when, "round": rounds, "step": trainer.global_step}
        scores: dict[str, float] = {}
        if trainer.is_global_zero:
            policy, folder = data.policy, self.folder(trainer, name)
            with data.served.awake(policy, data.policy_version()) as engine:
                result = evaluate(
                    self.tasks,
                    engine,
                    data.tokenizer,
                    model=f"{policy.model} + {policy.adapter_digest()}",
                    predictions=folder,
                    overwrite=True,
                    desc=f"evaluation {when}",
                )
            scores = self.keep(trainer, result, entry, folder)
            for logger in trainer.loggers:
                logger.log_metrics(scores, step=trainer.global_step)
        scores = trainer.strategy.broadcast(scores)
        self.history.append({**entry, **scores})
        return scores
