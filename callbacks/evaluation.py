"""Evaluation during training: a suite on the rollouts' own engine with the current adapter."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from longmab_pl.callbacks.checkpoint import AdapterCheckpoint
from longmab_pl.callbacks.trainer import callbacks_of
from longmab_pl.checks import at_least
from longmab_pl.datamodules.base import PairDataModule, rounds_of
from longmab_pl.datamodules.distributed import on_rank_zero
from longmab_pl.engines.protocol import Engine
from longmab_pl.errors import ConfigError, EngineError, LongMabError
from longmab_pl.evaluation.contamination import find_contamination
from longmab_pl.evaluation.entry import EvaluationEntry, Occasion, entries_of
from longmab_pl.evaluation.model import model_identity, model_name
from longmab_pl.evaluation.predictions import questions_digest
from longmab_pl.evaluation.results import EvaluationResult, compare, compare_headlines
from longmab_pl.evaluation.runner import EvaluationRun
from longmab_pl.evaluation.statistics import PairedTest
from longmab_pl.evaluation.suite import Picture, Suite, SuiteContext, ignore
from longmab_pl.evaluation.tables import notes
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.evaluation.thinking import thinking_note
from longmab_pl.exports import public_name
from longmab_pl.models.adapter_files import adapter_digest
from longmab_pl.reporting.console import wide_console
from longmab_pl.rollout.scheduler import BesideRollout
from longmab_pl.shown import tell
from longmab_pl.storage.files import atomic_write

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationSchedule:
    """When a run evaluates.

    Args:
        before_training: once before the first round.
        every_n_rounds: evaluate after this many rounds (epochs over given pairs) each time; None: not by rounds.
        every_n_steps: evaluate within a round too, each time after this many optimizer steps; None: not by steps.
        at_end: evaluate the policy that training ends with, also when it stops within a round.
        beside_rollout: ask the questions before training and after a round together with the next round's rollout,
            which has the same weights, in one wake of the engine. Scores then come after that rollout, and Lightning's
            `callback_metrics` have those of the last round only. An evaluation whose score is monitored (`best.ckpt`,
            early stopping, a learning-rate schedule) is always asked at once; set false if something else waits for it.

    Raises:
        ConfigError: a number is below 1, or nothing is ever evaluated.
    """

    before_training: bool = True
    every_n_rounds: int | None = 1
    every_n_steps: int | None = None
    at_end: bool = True
    beside_rollout: bool = True

    def __post_init__(self) -> None:
        at_least("Evaluation.when.every_n_rounds", self.every_n_rounds, 1, or_null=True)
        at_least("Evaluation.when.every_n_steps", self.every_n_steps, 1, or_null=True)
        if not (self.before_training or self.every_n_rounds or self.every_n_steps or self.at_end):
            raise ConfigError(
                "Evaluation.when never evaluates; set before_training, every_n_rounds, every_n_steps or at_end"
            )


_DEFAULT_SCHEDULE = EvaluationSchedule()


class Evaluation(Callback):
    """Evaluation of a suite during training, on the engine that the rollouts use, with the current adapter.

    Logs `eval/<suite>/<metric>` (0..100) and `eval/<suite>/<task>/<metric>`; a checkpoint can be chosen by them. From
    the second evaluation on there are `eval/<suite>/difference` and `eval/<suite>/p_value` too: the paired test over
    all tasks against the first evaluation. Predictions, `result.json`, `against_first.json` (the test by task) and the
    suite's pictures are in `<run>/evaluations/<before-training, after-round-N or step-N>/<suite>/`; at the end the
    suite's tables and pictures show the last evaluation beside the first.

    The same weights are evaluated once. At set-up a warning names evaluation questions and contexts that occur in the
    training records.

    Args:
        suite: the suite to evaluate: `QASuite`, `LongBenchSuite`, `InfiniteBenchSuite`, `NeedleSuite`, or another
            `longmab_pl.evaluation.Suite`. Each of a run's evaluations needs a suite name of its own.
        when: before training, by rounds, by steps, at the end.
        keep_best: folder in the run folder for the adapter with the best headline score after training began, ready to
            load, with a `best.json` that holds its score and step; None keeps none.

    Attributes:
        history: the rows of every evaluation so far (`longmab_pl.evaluation.EvaluationEntry`).
        seconds: time of this process's evaluations.

    Example:
        >>> evaluation = Evaluation(QASuite(limit=64), EvaluationSchedule(every_n_rounds=2), keep_best="best_adapter")
    """

    def __init__(
        self, suite: Suite, when: EvaluationSchedule = _DEFAULT_SCHEDULE, keep_best: str | None = None
    ) -> None:
        self.suite = suite
        self.when = when
        self.keep_best = keep_best
        self.history: list[EvaluationEntry] = []
        self.seconds = 0.0
        self.tasks: Sequence[EvaluationTask] = ()
        self._asked = ""
        self._waiting: Occasion | None = None  # asked with the next rollout

    @property
    def state_key(self) -> str:
        return self._generate_state_key(suite=self.suite.name, kind=type(self.suite).__name__)

    @property
    def monitor(self) -> str:
        """The logged score that decides which adapter is best."""
        return f"eval/{self.suite.name}/{self.suite.headline}"

    # resume

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": [entry.to_json() for entry in self.history],
            "asked": self._asked,
            "waiting": None if self._waiting is None else asdict(self._waiting),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.tasks and state_dict["asked"] != self._asked:
            log.warning(
                "evaluation %r asks other questions, or asks them in another way, than before the checkpoint: its "
                "history starts again",
                self.suite.name,
            )
            return
        self.history = [EvaluationEntry.from_json(row) for row in state_dict["history"]]
        waiting = state_dict.get("waiting")
        self._waiting = None if waiting is None else Occasion(**waiting)

    # when

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or self.tasks:
            return
        self._refuse_clashes(trainer)
        data = rounds_of(trainer)
        if data.served is None:
            raise ConfigError(
                f"Evaluation asks the rollouts' own engine, and {type(data).__name__} has none; set data.engine, or "
                "leave the callback out and evaluate the adapter afterwards with `longmab evaluate`"
            )
        context = SuiteContext(
            prompt_format=data.prompt_format,
            held_out=data.eval_records,
            note=_on_stderr if trainer.is_global_zero else ignore,
            max_model_len=data.served.engine.max_model_len or None,
        )
        self.tasks = self.suite.tasks(data.tokenizer, context)
        self._asked = questions_digest(self.tasks)
        if (note := thinking_note(data.tokenizer, self.tasks)) and trainer.is_global_zero:
            log.warning("%s", note)
        if data.records and trainer.is_global_zero:
            found = find_contamination(data.records, {task.name: task.records for task in self.tasks})
            if found:
                log.warning("%s", found.message())

    def _refuse_clashes(self, trainer: Trainer) -> None:
        for other in callbacks_of(trainer, Evaluation):
            if other is self:
                continue
            if other.suite.name == self.suite.name:
                raise ConfigError(f"two evaluations are called {self.suite.name!r}; set the name of one suite")
            if self.keep_best is not None and other.keep_best == self.keep_best:
                raise ConfigError(
                    f"evaluations {self.suite.name!r} and {other.suite.name!r} would both keep their best adapter in "
                    f"{self.keep_best!r}; give one another keep_best, or null"
                )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = rounds_of(trainer)
        if self._waiting is not None:  # the run was interrupted before or within the rollout
            data.ask_beside(_AskedBeside(self, trainer, self._waiting))
            return
        if not self.when.before_training or self.history:
            return
        data.policy.gather_adapter()
        # A callback that is new in a resumed run has no history either, and the policy is no longer the base model.
        if trainer.ckpt_path is None or data.policy.adapter_is_identity():
            occasion = Occasion("before training", 0, trainer.global_step)
            if self.when.beside_rollout and data.rollout_follows:  # nothing monitors it: it is not logged to Lightning
                self._wait(trainer, occasion)
            else:
                self._run(trainer, occasion)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, every = trainer.global_step, self.when.every_n_steps
        due = every is not None and step > 0 and step % every == 0
        # With gradient accumulation the same step ends several batches.
        if due and not self._is_evaluated(step):
            # Not through Lightning's own log: an epoch's end would take the score of an earlier step for its own.
            self._run(trainer, Occasion(f"after step {step}", rounds_of(trainer).rounds_done, step))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data, every = rounds_of(trainer), self.when.every_n_rounds
        rounds, rest = divmod(data.epochs_done, data.epochs_per_round)
        due = every is not None and rounds % every == 0
        if rest == 0 and (due or (self.when.at_end and rounds == data.rounds)):
            occasion = Occasion(f"after round {rounds}", rounds, trainer.global_step)
            beside = self.when.beside_rollout and data.rollout_follows and not _is_monitored(trainer, self.suite.name)
            if beside and not self._is_evaluated(occasion.step):
                self._wait(trainer, occasion)
                return
            rows = self._run(trainer, occasion)
            # Also through Lightning's own log, so that a checkpoint can be chosen by it.
            pl_module.log_dict(_logged(rows), on_step=False, on_epoch=True, logger=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        if self._waiting is not None:  # training has stopped before the next rollout
            self._run(trainer, self._waiting)
        if self.when.at_end and not self._is_evaluated(step):  # stopped in the middle of a round
            self._run(trainer, Occasion("at the end", rounds_of(trainer).rounds_done, step))

    def run_waiting(self, trainer: Trainer, asked: EvaluationResult | None) -> None:
        """Finish the evaluation that was asked together with a rollout, on every rank.

        Args:
            trainer: the trainer.
            asked: its result on rank 0; None: it was not asked, and is now.
        """
        assert self._waiting is not None
        self._run(trainer, self._waiting, asked)

    def _is_evaluated(self, step: int) -> bool:
        return bool(self.history) and self.history[-1].step == step

    def _wait(self, trainer: Trainer, occasion: Occasion) -> None:
        """Let the questions be asked together with the next rollout."""
        self._waiting = occasion
        rounds_of(trainer).ask_beside(_AskedBeside(self, trainer, occasion))

    # what

    def _run(
        self, trainer: Trainer, occasion: Occasion, asked: EvaluationResult | None = None
    ) -> list[EvaluationEntry]:
        """Evaluate the current policy, log its scores, add them to the history and return the new rows on all ranks.

        Args:
            trainer: the trainer.
            occasion: when this is.
            asked: their result on rank 0, if the questions have been asked already.
        """
        if self._is_evaluated(occasion.step):
            # The last step of a round was just evaluated: the same weights are not asked again.
            last = [entry for entry in self.history if entry.when == self.history[-1].when]
            rows = [replace(entry, when=occasion.when, round=occasion.round) for entry in last]
        else:
            rounds_of(trainer).policy.gather_adapter()
            rows = on_rank_zero(lambda: self._ask(trainer, occasion, asked))
        self.history += rows
        self._waiting = None
        return rows

    def _ask(self, trainer: Trainer, occasion: Occasion, asked: EvaluationResult | None) -> list[EvaluationEntry]:
        """Ask the engine on rank 0 and write the result."""
        data, run = rounds_of(trainer), Path(trainer.default_root_dir)
        folder = self._folder(trainer, occasion)
        result = self._result(trainer, occasion, asked)
        self.seconds += result.seconds
        result.save(folder / "result.json")
        tests = self._against_first(run, result, folder)
        rows = entries_of(self.suite, result, occasion, folder.relative_to(run).as_posix(), tests)
        for logger in trainer.loggers:
            logger.log_metrics(_logged(rows), step=occasion.step)
        self._write_pictures(trainer, folder, self.suite.figures([result]), occasion.step)
        self._keep_if_best(data, run, rows[0])
        return rows

    def _folder(self, trainer: Trainer, occasion: Occasion) -> Path:
        """Return the folder of an occasion's predictions."""
        by_round = occasion.when in ("before training", f"after round {occasion.round}")
        name = occasion.when.replace(" ", "-") if by_round else f"step-{occasion.step:06d}"
        return Path(trainer.default_root_dir) / "evaluations" / name / self.suite.name

    def opened(self, trainer: Trainer, occasion: Occasion, engine: Engine) -> EvaluationRun:
        """Return an evaluation of the current policy on rank 0, not asked yet.

        Args:
            trainer: the trainer.
            occasion: when this is.
            engine: the policy's engine, awake and with the current adapter.
        """
        data = rounds_of(trainer)
        assert data.served is not None  # setup refuses otherwise
        synced = data.served.last_sync
        digest = adapter_digest(synced.folder) if synced is not None and synced.folder is not None else None
        return EvaluationRun(
            self.tasks,
            engine,
            data.tokenizer,
            model=model_identity(data.policy.model, digest, engine.weight_format),
            predictions=self._folder(trainer, occasion),
            overwrite=True,
            name=f"evaluation/{self.suite.name}",
        )

    def _result(self, trainer: Trainer, occasion: Occasion, asked: EvaluationResult | None) -> EvaluationResult:
        data = rounds_of(trainer)
        assert data.served is not None
        policy, result = data.policy, asked
        if result is None:
            with (
                data.served.awake(policy, data.policy_version()) as engine,
                closing(self.opened(trainer, occasion, engine)) as run,
            ):
                run.ask(f"evaluation {occasion.when}", judged=self.suite.is_judged)
                result = run.result()
        result = self.suite.rated(result, self.tasks, self._folder(trainer, occasion))
        # A label for tables; predictions on disk are identified by the adapter's digest.
        label = f"{model_name(policy.model)}, {occasion.when}"
        return replace(
            result,
            model=label,
            policy=f"{policy.model} + {policy.adapter_digest()}",
            suite=self.suite.name,
            kind=public_name(type(self.suite)),
            headline_tasks=tuple(self.suite.headline_tasks(result)),
        )

    def _against_first(self, run: Path, result: EvaluationResult, folder: Path) -> Mapping[str, PairedTest]:
        """Return the paired tests against the first evaluation, in points of 0..100; none for the first itself."""
        if not self.history:
            return {}
        try:
            first = EvaluationResult.load(run / self.history[0].folder / "result.json")
            tests = compare(first, result) | {"headline": compare_headlines(first, result)}
        except LongMabError as error:  # files that were moved away
            log.warning("no test against the first evaluation: %s", error)
            return {}
        with atomic_write(folder / "against_first.json") as file:
            file.write(json.dumps({name: asdict(test) for name, test in tests.items()}, indent=1) + "\n")
        return tests

    def _write_pictures(self, trainer: Trainer, folder: Path, pictures: Sequence[Picture], step: int) -> None:
        for picture in pictures:
            picture.save(folder)
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_figure(f"eval/{self.suite.name}/{picture.name}", picture.figure, step)

    def _keep_if_best(self, data: PairDataModule, run: Path, entry: EvaluationEntry) -> None:
        def score(row: EvaluationEntry) -> float:
            return row.scores[self.suite.headline].value

        whole = [row for row in self.history if row.task is None]
        trained = [score(row) for row in whole if row.step > 0]
        if self.keep_best is None or entry.step == 0 or score(entry) <= max(trained, default=-1.0):
            return
        folder = data.policy.save_adapter(run / self.keep_best)
        first = whole[0] if whole else entry
        best = {
            "score": score(entry),
            "monitor": self.monitor,
            **{key: value for key, value in entry.to_json().items() if key in ("when", "round", "step")},
            "evaluation": entry.folder,
            "first": {"when": first.when, "score": score(first)},
        }
        with atomic_write(folder / "best.json") as file:
            file.write(json.dumps(best, indent=1) + "\n")

    # the end

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.history:
            return
        run = Path(trainer.default_root_dir)
        first, last = self.history[0], self.history[-1]
        shown = {entry.folder: entry.when for entry in (first, last)}
        try:
            results = [
                replace(EvaluationResult.load(run / folder / "result.json"), model=when)
                for folder, when in shown.items()
            ]
        except LongMabError as error:
            log.warning("no closing tables of evaluation %r: %s", self.suite.name, error)
            return
        console = wide_console()
        for table in self.suite.tables(results):
            console.print()
            console.print(table)
        for line in notes(results[-1]):
            console.print(line, soft_wrap=True)
        for picture in self.suite.figures(results):
            path = run / f"{self.suite.name}-{picture.name}.png"
            picture.figure.savefig(path, dpi=150)
            console.print(f"picture    {path}", soft_wrap=True)
        if self.keep_best is not None and (run / self.keep_best / "best.json").is_file():
            console.print(f"best       {run / self.keep_best}", soft_wrap=True)


class _AskedBeside:
    """An evaluation that is asked together with the next rollout (`datamodules.base.AskedBeside`)."""

    def __init__(self, evaluation: Evaluation, trainer: Trainer, occasion: Occasion) -> None:
        self._evaluation = evaluation
        self._trainer = trainer
        self._occasion = occasion
        self._result: EvaluationResult | None = None

    @contextmanager
    def during(self, engine: Engine) -> Iterator[BesideRollout]:
        with closing(self._evaluation.opened(self._trainer, self._occasion, engine)) as run:
            yield BesideRollout(run.streams(), run.left_in_words)
            try:
                judged = self._evaluation.suite.is_judged
                run.ask(f"evaluation {self._occasion.when}", progress=run.left > 0, judged=judged)
                self._result = run.result()
            except EngineError:
                raise
            except LongMabError as error:  # `after` asks what is missing again: the round's pairs are made first
                log.warning("evaluation %s: %s", self._occasion.when, error)

    def after(self) -> None:
        self._evaluation.run_waiting(self._trainer, self._result)


def _is_monitored(trainer: Trainer, suite: str) -> bool:
    """Return whether a checkpoint, early stopping or a learning-rate schedule decides by a suite's scores."""
    monitored: list[str | None] = [callback.best_by for callback in callbacks_of(trainer, AdapterCheckpoint)]
    monitored += [callback.monitor for callback in callbacks_of(trainer, ModelCheckpoint)]
    monitored += [callback.monitor for callback in callbacks_of(trainer, EarlyStopping)]
    monitored += [schedule.monitor for schedule in trainer.lr_scheduler_configs]
    return any(name is not None and name.startswith(f"eval/{suite}/") for name in monitored)


def _logged(rows: Iterable[EvaluationEntry]) -> dict[str, float]:
    return {key: value for row in rows for key, value in row.logged().items()}


def _on_stderr(note: str) -> None:
    tell(f"evaluation: {note}")
