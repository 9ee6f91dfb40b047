"""What evaluations on the rollouts' own engine have in common: when they run, with which adapter, what they keep."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from longmab_pl.datamodules.distributed import on_rank_zero
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.contamination import find_contamination
from longmab_pl.evaluation.predictions import record_digest
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.models.bundled import BUNDLED_PREFIX

log = logging.getLogger(__name__)


class EngineEvaluation(Callback, ABC):
    """Runs evaluation tasks before training, after rounds and steps, and at the end, on the engine that the rollouts
    use, with the current adapter. The same weights are asked once, whatever asks for them.

    At set-up it warns where evaluation questions or contexts occur in the training records.

    Args:
        before_training: evaluate the policy once before the first round.
        every_n_rounds: evaluate after every so many rounds; None leaves only what `at_end` asks for.
        at_end: evaluate the policy that training ends with, wherever it ends.
        every_n_steps: evaluate also within a round, after every so many optimizer steps; None: not by steps.

    Attributes:
        history: an entry for every evaluation: when, round, step and its scores.

    Raises:
        ConfigError: a setting is out of range, or the settings never evaluate.
    """

    def __init__(
        self, before_training: bool, every_n_rounds: int | None, at_end: bool, every_n_steps: int | None = None
    ) -> None:
        kind = type(self).__name__
        for name, value in (("every_n_rounds", every_n_rounds), ("every_n_steps", every_n_steps)):
            if value is not None and value < 1:
                raise ConfigError(f"{kind}.{name} is {value}; it must be at least 1, or null")
        if not (before_training or every_n_rounds or every_n_steps or at_end):
            raise ConfigError(
                f"{kind} would never evaluate; set before_training, every_n_rounds, every_n_steps or at_end"
            )
        self.before_training = before_training
        self.every_n_rounds = every_n_rounds
        self.every_n_steps = every_n_steps
        self.at_end = at_end
        self.history: list[dict[str, Any]] = []
        self.tasks: Sequence[EvaluationTask] = ()
        self._asked = ""

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
        return {"history": self.history, "asked": self._asked}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.tasks and state_dict["asked"] != self._asked:
            log.warning(
                "%s asks other questions, or asks them otherwise, than before the checkpoint: its history begins anew",
                type(self).__name__,
            )
            return
        self.history = state_dict["history"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or self.tasks:
            return
        if getattr(trainer.datamodule, "served", None) is None:  # type: ignore[attr-defined]
            raise ConfigError(
                f"{type(self).__name__} asks the rollouts' own engine, and {type(trainer.datamodule).__name__} has "  # type: ignore[attr-defined]
                "none; leave the callback out and evaluate the adapter afterwards with `longmab evaluate`"
            )
        self.tasks = self.read_tasks(trainer)
        self._asked = _digest(self.tasks)
        training = getattr(trainer.datamodule, "records", None)  # type: ignore[attr-defined]
        if training and trainer.is_global_zero:
            found = find_contamination(training, {task.name: task.records for task in self.tasks})
            if found:
                log.warning("%s", found.message())

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.before_training or self.history:
            return
        policy = trainer.datamodule.policy  # type: ignore[attr-defined]
        policy.gather_adapter()
        # A callback that is new in a resumed run has no history either, and the policy is no longer the base model.
        if trainer.ckpt_path is None or policy.adapter_is_identity():
            self.run(trainer, "before training", 0, "before-training")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        due = self.every_n_steps is not None and step > 0 and step % self.every_n_steps == 0
        # With gradient accumulation the same step ends several batches.
        if due and not self._is_evaluated(step):
            # Not through Lightning's own log: an epoch's end would take the score of an earlier step for its own.
            self.run(trainer, f"after step {step}", self._rounds_done(trainer), f"step-{step:06d}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        rounds, rest = divmod(data.epochs_done, data.epochs_per_round)
        every = self.every_n_rounds is not None and rounds % self.every_n_rounds == 0
        if rest == 0 and (every or (self.at_end and rounds == data.rounds)):
            scores = self.run(trainer, f"after round {rounds}", rounds, f"after-round-{rounds}")
            # Also through Lightning's own log, so that a checkpoint can be chosen by it.
            pl_module.log_dict(scores, on_step=False, on_epoch=True, logger=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        if self.at_end and not self._is_evaluated(step):  # stopped in the middle of a round
            self.run(trainer, "at the end", self._rounds_done(trainer), f"step-{step:06d}")

    def _is_evaluated(self, step: int) -> bool:
        return bool(self.history) and self.history[-1]["step"] == step

    @staticmethod
    def _rounds_done(trainer: Trainer) -> int:
        data = trainer.datamodule  # type: ignore[attr-defined]
        return cast(int, data.epochs_done // data.epochs_per_round)

    def first_and_last(self) -> dict[str, str]:
        """Folder and name of the first and the last evaluation, once where they are the same; there is one."""
        return {entry["folder"]: entry["when"] for entry in (self.history[0], self.history[-1])}

    # what

    def run(self, trainer: Trainer, when: str, rounds: int, name: str) -> dict[str, float]:
        """Evaluate the present policy, log its scores and note them in the history; the scores, on every rank."""
        if self._is_evaluated(trainer.global_step):
            # The last step of a round was just evaluated: the same weights are not asked again.
            last = self.history[-1]
            self.history.append({**last, "when": when, "round": rounds})
            return {key: value for key, value in last.items() if key.startswith("eval/")}
        data = trainer.datamodule  # type: ignore[attr-defined]
        entry: dict[str, Any] = {"when": when, "round": rounds, "step": trainer.global_step}

        data.policy.gather_adapter()

        def evaluation() -> tuple[dict[str, Any], dict[str, float]]:
            policy, folder = data.policy, self.folder(trainer, name)
            answering = f"{policy.model} + {policy.adapter_digest()}"
            with data.served.awake(policy, data.policy_version()) as engine:
                result = evaluate(
                    self.tasks,
                    engine,
                    data.tokenizer,
                    model=f"{answering}, {engine.weight_format}",
                    predictions=folder,
                    overwrite=True,
                    desc=f"evaluation {when}",
                )
            # For tables: whose result it is, in words; predictions on disk are told apart by the adapter's digest.
            label = f"{Path(policy.model).name.removeprefix(BUNDLED_PREFIX)}, {when}"
            result = replace(result, model=label, policy=answering)
            scores = self.keep(trainer, result, entry, folder)
            for logger in trainer.loggers:
                logger.log_metrics(scores, step=trainer.global_step)
            return entry, scores

        entry, scores = on_rank_zero(evaluation)
        self.history.append({**entry, **scores})
        return scores


def _digest(tasks: Sequence[EvaluationTask]) -> str:
    """Stands for records and settings of all tasks: scores on others are another history."""
    h = hashlib.blake2b(digest_size=8)
    for task in tasks:
        h.update(repr((task.name, task.settings())).encode("utf-8", "surrogatepass"))
        for record in task.records:
            h.update(repr((record.id, record.answers, record_digest(record))).encode("utf-8", "surrogatepass"))
    return h.hexdigest()
