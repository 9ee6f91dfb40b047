"""The base class of the package's data modules: preference pairs, or answers alone, as batches of token ids."""

from __future__ import annotations

import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from lightning import LightningDataModule, Trainer

from longmab_pl.checks import at_least, unit_interval
from longmab_pl.data.records import QARecord
from longmab_pl.datamodules.loader import NoPairsLoader, RoundLoader
from longmab_pl.engines.protocol import Engine
from longmab_pl.engines.weight_sync import PolicySync
from longmab_pl.errors import ConfigError
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.rollout.scheduler import BesideRollout
from longmab_pl.seeding import derive_seed, global_seed
from longmab_pl.training.batch import Example, PackedBatch, PreferenceExample
from longmab_pl.training.module import DPOModule
from longmab_pl.training.phases import PhasePlan
from longmab_pl.training.ranks import TrainerRanks
from longmab_pl.training.reference_store import with_reference

log = logging.getLogger(__name__)


class AskedBeside(Protocol):
    """Questions to the current policy that wait for the next round's rollout, and are asked in the room it leaves."""

    def during(self, engine: Engine) -> AbstractContextManager[BesideRollout]:
        """Return a context whose requests the rollout answers; at its end, what they leave out is asked alone.

        Called on rank 0. The context is left early if the rollout fails.

        Args:
            engine: the policy's engine, awake and with the current adapter.
        """

    def after(self) -> None:
        """Use the answers, on every rank; whatever is missing is asked alone, in a wake of its own."""


_LIGHTNING_DEFAULT_EPOCHS = 1000
"""`max_epochs` of a Trainer that was given none."""


class PairDataModule(LightningDataModule, ABC):
    """A data module that batches tokenized pairs in an order that a resumed run reproduces.

    A subclass fills `training` and `held_out` in `ensure_pairs`.

    Args:
        batch_size: pairs per batch; not used with `max_tokens_per_batch`.
        max_tokens_per_batch: pack pairs up to this many tokens per batch, every shared prompt counted once.
        val_fraction: share of the pairs' prompts that is held out for validation.
        seed: seed of the order and of the held-out share; None: the global one (`seed_everything`), else 0.

    Attributes:
        training: training pairs of this run or round, the same on every rank; answers alone if nothing compares two.
        held_out: validation pairs, likewise.
        served: the engine as callbacks use it, or None if there is no engine.
        tokenizer: the policy's tokenizer, once `setup` has run.
        epochs_setting: names of the settings for the number of epochs, for messages.
        rounds: number of rounds in a run.
        epochs_per_round: passes over the pairs of a round.
        records: records of the rollouts; empty if the pairs come from a file.
        rollout_seconds: time that this process has spent on rollouts.
        eval_records: records held out for evaluation.
    """

    epochs_setting = "data.rounds x data.epochs_per_round"
    rounds: int
    epochs_per_round: int
    records: Sequence[QARecord] = ()
    rollout_seconds: float = 0.0
    eval_records: Sequence[QARecord] = ()

    def __init__(
        self, batch_size: int, val_fraction: float, seed: int | None, max_tokens_per_batch: int | None = None
    ) -> None:
        super().__init__()
        at_least("data.batch_size", batch_size, 1)
        at_least("data.max_tokens_per_batch", max_tokens_per_batch, 1, "it must be at least 1 or null", or_null=True)
        unit_interval("data.val_fraction", val_fraction, one=False)
        self.batch_size = batch_size
        self.max_tokens_per_batch = max_tokens_per_batch
        self.val_fraction = val_fraction
        self.seed = global_seed() if seed is None else seed
        self._seed_is_given = seed is not None
        self.training: list[Example] = []
        self.held_out: list[Example] = []
        self.epochs_per_round = 1
        self.served: PolicySync | None = None
        self.tokenizer: Any = None
        self._phase_begun: int | None = None

    # abstract methods

    @abstractmethod
    def ensure_pairs(self) -> None:
        """Fill `training` and `held_out` for the current epoch; a repeated call does nothing."""

    @abstractmethod
    def pairs_digest(self) -> str:
        """Return a digest of the current pairs, so that a saved position is used only with the same pairs."""

    @abstractmethod
    def stage_name(self) -> str:
        """Return the current epoch's name on the progress bar."""

    @abstractmethod
    def report_row(self) -> dict[str, Any]:
        """Return a report's values for the epoch that has just ended, with its `round` (from 1)."""

    @property
    @abstractmethod
    def prompt_format(self) -> PromptFormat:
        """Format of the prompts; also the default of evaluations."""

    @abstractmethod
    def pairs_folder(self) -> Path:
        """Return the folder of the current pairs and of what is computed from them."""

    @abstractmethod
    def first_epoch_of_pairs(self) -> int:
        """Return the run's epoch in which training on the current pairs began."""

    @abstractmethod
    def epochs_over_pairs(self) -> int:
        """Return the number of epochs over the current pairs, if the phases do not set it."""

    # the run

    @property
    def total_epochs(self) -> int:
        """Number of epochs of a whole run."""
        return self.rounds * self.epochs_per_round

    @property
    def run_folder(self) -> Path:
        assert self.trainer is not None
        return Path(self.trainer.default_root_dir)

    @property
    def policy(self) -> DPOModule:
        assert self.trainer is not None
        return cast(DPOModule, self.trainer.lightning_module)

    def policy_version(self) -> str:
        """Return a name for the policy's weights within this run: the number of optimizer steps."""
        assert self.trainer is not None
        return f"step-{self.trainer.global_step:06d}"

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs. `processed` is the counter that is already correct in an epoch-end checkpoint."""
        assert self.trainer is not None
        return cast(int, self.trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]

    @property
    def validates(self) -> bool:
        """Whether pairs are held out for validation."""
        return self.val_fraction > 0

    @property
    def rounds_done(self) -> int:
        """Number of finished rounds."""
        return self.epochs_done // self.epochs_per_round

    def end_after_all_rounds(self) -> None:
        """Let a Trainer without `max_epochs` end after the run's epochs.

        Lightning itself would train 1,000 epochs, and the learning-rate schedule needs the real number.
        """
        assert self.trainer is not None
        if self.trainer.max_epochs in (None, -1, _LIGHTNING_DEFAULT_EPOCHS):
            self.trainer.fit_loop.max_epochs = self.total_epochs

    @property
    def rollout_follows(self) -> bool:
        """Whether a rollout with the current weights follows the current round's end (or the run's beginning)."""
        return False

    def ask_beside(self, questions: AskedBeside) -> None:
        """Ask questions together with the next rollout; only if `rollout_follows`."""
        raise NotImplementedError(f"{type(self).__name__} has no rollouts")

    # batches

    def train_dataloader(self) -> RoundLoader | NoPairsLoader:
        assert self.trainer is not None
        self.ensure_pairs()
        self._ensure_phase()
        if not self.training:
            return NoPairsLoader()
        examples = self.policy.phase.examples(self.training)
        random.Random(derive_seed(self.seed, "order", self.epochs_done)).shuffle(examples)
        share, shares = self.policy.data_share()
        return RoundLoader(
            examples,
            self.batch_size,
            f"{self.pairs_digest()}/{self.epochs_done}",
            self._batches_done,
            max_tokens=self.max_tokens_per_batch,
            rank=share,
            world_size=shares,
        )

    def on_before_batch_transfer(self, batch: PackedBatch | None, dataloader_idx: int) -> PackedBatch | None:
        """Count the step of an epoch without a pair as started, which Lightning leaves out.

        Its counters would differ from then on, and a run resumed within a later round would not know where it was.
        """
        if batch is None and self.trainer is not None:
            self.trainer.fit_loop.epoch_loop.batch_progress.increment_started()
        return batch

    def val_dataloader(self) -> RoundLoader:
        self.ensure_pairs()
        self._ensure_phase()
        examples = self.policy.phase.examples(self.held_out)
        # Every rank has all of them: their mean is the same on all ranks.
        return RoundLoader(examples, self.batch_size, "validation", max_tokens=self.max_tokens_per_batch)

    # phases

    def adopt_phases(self, phases: PhasePlan) -> None:
        """Set the epochs of a round from the module's phases if these define them; a repeated call does nothing.

        Raises:
            ConfigError: `epochs_per_round` is set as well, to another number.
        """
        if phases.epochs is None or phases.epochs == self.epochs_per_round:
            return
        if self.epochs_per_round != 1:
            raise ConfigError(
                f"data.epochs_per_round is {self.epochs_per_round}, but model.phases take {phases.epochs} epochs; "
                "leave data.epochs_per_round out"
            )
        self.epochs_per_round = phases.epochs

    def phase_name(self) -> str:
        """Return the current phase's name for the progress bar; empty if there is only one."""
        return f", {self.policy.phase.name}" if len(self.policy.phases) > 1 else ""

    def _first_epoch_of_phase(self) -> int:
        phases = self.policy.phases
        return phases.first_epoch(self.epochs_done) if len(phases) > 1 else self.first_epoch_of_pairs()

    def _ensure_phase(self) -> None:
        """Begin the current phase, once: its reference, and the reference's log-probabilities."""
        assert self.trainer is not None
        first = self._first_epoch_of_phase()
        if self._phase_begun == first or self.trainer.state.fn != "fit":
            return
        if self.policy.current_epoch != self.epochs_done:
            return  # resumed at an epoch's end: called again after `phase` has advanced
        self._phase_begun = first
        if self.epochs_done == first and self._batches_done() == 0:
            self.policy.start_phase()
        if not self.policy.phases.compares:
            return
        pairs = [e for e in (*self.training, *self.held_out) if isinstance(e, PreferenceExample)]
        if len(self.policy.phases) > 1:  # an earlier phase may have had another reference
            pairs = [replace(e, reference_chosen_logp=None, reference_rejected_logp=None) for e in pairs]
        epochs = self.policy.phase.epochs or self.epochs_over_pairs()
        examples = with_reference(self.policy, pairs, self.pairs_folder(), epochs, TrainerRanks(self.trainer))
        self.training, self.held_out = [*examples[: len(self.training)]], [*examples[len(self.training) :]]

    def _batches_done(self) -> int:
        """Return the finished batches of the current epoch. Until it has started, the counter is the last epoch's."""
        assert self.trainer is not None
        epoch = self.trainer.fit_loop.epoch_progress.current
        if epoch.started <= self.epochs_done:  # type: ignore[attr-defined]
            return 0
        return cast(int, self.trainer.fit_loop.epoch_loop.batch_progress.current.processed)  # type: ignore[attr-defined]

    def resume_seed(self, saved: int) -> None:
        """Go on with a checkpoint's seed, unless another one is set for this run, which is warned of.

        Args:
            saved: the seed of the run that wrote the checkpoint.
        """
        if saved == self.seed:
            return
        if self._seed_is_given:
            log.warning("data.seed is %s, in the checkpoint it was %s", self.seed, saved)
        else:
            self.seed = saved

    def is_held_out(self, prompt: str) -> bool:
        """Return whether a prompt's pairs are for validation. It depends only on the prompt's name (in a rollout: the
        record's) and the seed, so it is the same in every round."""
        return derive_seed(self.seed, "validation", prompt) < self.val_fraction * 2**31

    # the end

    def teardown(self, stage: str) -> None:
        self._close_engine()

    def on_exception(self, exception: BaseException) -> None:
        self._close_engine()

    def _close_engine(self) -> None:
        if self.served is not None:
            self.served.engine.close()


class _Fit(Protocol):
    """Attributes that Lightning sets on a Trainer without declaring them."""

    datamodule: LightningDataModule | None


def rounds_of(trainer: Trainer) -> PairDataModule:
    """Return the data module of a fit.

    Raises:
        ConfigError: the data module is not one of the package's own.
    """
    data = cast(_Fit, trainer).datamodule
    if not isinstance(data, PairDataModule):
        raise ConfigError(
            f"data is a {type(data).__name__}; this callback needs longmab_pl.RolloutDataModule or "
            "longmab_pl.PreferenceDataModule"
        )
    return data
