"""Phases: the objectives that a round's pairs are trained with, one after the other."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch

from longmab_pl.checks import at_least, not_negative, positive
from longmab_pl.errors import ConfigError
from longmab_pl.training.batch import Example, PackedBatch, sft_examples
from longmab_pl.training.logprobs import chosen_logps, pair_logps
from longmab_pl.training.losses import PairLogps, PreferenceLoss, SigmoidDPO
from longmab_pl.training.objective import StepLoss, preference_objective, sft_objective


class Phase(ABC):
    """One objective for some epochs of every round; configs list phases in `model.phases`.

    Implementations: `SFTPhase`, `PreferencePhase`, `WeightedPhase`.

    Args:
        name: name in metrics (`<name>/loss`) and on the progress bar; the names of a run's phases differ.
        epochs: passes over a round's pairs. None: 1, or, for a run's only phase, the data's setting.
        learning_rate: peak learning rate; None: `model.learning_rate`.
    """

    needs_reference: bool = False
    """Whether the reference's log-probabilities are computed."""

    reference_tokens: bool = False
    """Whether `objective` reads the reference token by token, and not as the sums of the pairs."""

    needs_short_prompt: bool = False
    """Whether pairs without a short prompt are left out."""

    needs_group: bool = False
    """Whether pairs without the group of all responses are left out."""

    reference_samples: bool = False
    """Whether the reference must be the policy that sampled the responses (`model.reference: round_start`)."""

    compares: bool = True
    """Whether it compares two answers, so that every example must be a pair."""

    ld_alpha: float = 1.0
    """Weight of a completion's tokens beyond the shorter one's length, see `PreferenceLoss.ld_alpha`."""

    def __init__(self, name: str, epochs: int | None, learning_rate: float | None) -> None:
        at_least("phase.epochs", epochs, 1, or_null=True)
        positive("phase.learning_rate", learning_rate, or_null=True)
        self.name = name
        self.epochs = epochs
        self.learning_rate = learning_rate

    @abstractmethod
    def examples(self, data: Sequence[Example]) -> list[Example]:
        """Return the examples that the phase trains on, in the order of the data.

        Args:
            data: pairs; answers without worse ones only if no phase of the run has `compares`.
        """

    @abstractmethod
    def objective(
        self, batch: PackedBatch, logps: torch.Tensor, reference: PairLogps | torch.Tensor | None
    ) -> StepLoss:
        """Return the losses of a batch.

        Args:
            batch: made of the phase's examples.
            logps: log-probability of each completion token under the policy, nats, float [N].
            reference: the batch's pairs under the reference, or with `reference_tokens` each completion token, nats,
                float [N]; None where `needs_reference` is False.
        """


class SFTPhase(Phase):
    """Supervised fine-tuning on the chosen completions: the mean negative log-likelihood of their tokens.

    A completion is an answer, or the rest of a conversation whose completion mask keeps the assistant's turns. Each
    distinct one counts once, however many pairs prefer it, and every token counts equally, as in Transformers' loss.

    A run whose phases are all of this class also takes data without worse answers.

    Args:
        epochs: see `Phase`.
        learning_rate: see `Phase`.
        name: see `Phase`.

    Example:
        >>> phases = PhasePlan([SFTPhase(learning_rate=1e-5), PreferencePhase()])
        >>> [phases.at(epoch).name for epoch in range(4)]
        ['sft', 'dpo', 'sft', 'dpo']
    """

    compares = False

    def __init__(self, epochs: int | None = None, learning_rate: float | None = None, name: str = "sft") -> None:
        super().__init__(name, epochs, learning_rate)

    def examples(self, data: Sequence[Example]) -> list[Example]:
        return list(sft_examples(data))

    def objective(
        self, batch: PackedBatch, logps: torch.Tensor, reference: PairLogps | torch.Tensor | None
    ) -> StepLoss:
        return sft_objective(*chosen_logps(batch, logps), batch)


class PreferencePhase(Phase):
    """A preference loss on the pairs: DPO, ORPO, or any class of `longmab_pl.training.losses`.

    Args:
        loss: the preference loss; None: `model.loss`.
        nll_weight: weight of the likelihood term; None: `model.nll_weight`, or 0 where the phase's own loss has that
            term already.
        epochs: see `Phase`.
        learning_rate: see `Phase`.
        name: see `Phase`; None: the loss's (`dpo`, `orpo`, ...).
    """

    def __init__(
        self,
        loss: PreferenceLoss | None = None,
        nll_weight: float | None = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        name: str | None = None,
    ) -> None:
        not_negative("phase.nll_weight", nll_weight, or_null=True)
        self.loss = loss or SigmoidDPO()
        super().__init__(name or self.loss.name, epochs, learning_rate)
        self.nll_weight = nll_weight or 0.0
        self.needs_reference = self.loss.needs_reference
        self.ld_alpha = self.loss.ld_alpha
        self._given = loss, nll_weight, name

    def with_defaults(self, loss: PreferenceLoss, nll_weight: float) -> PreferencePhase:
        """Return the phase with `model.loss` and `model.nll_weight` for the settings that are None.

        Raises:
            ConfigError: a likelihood term beside a loss that has its own.
        """
        own, own_weight, name = self._given
        if own is not None and own_weight is None and own.includes_nll:
            own_weight = 0.0
        phase = copy.copy(self)  # of the phase's own class
        phase.loss = own or loss
        phase.nll_weight = nll_weight if own_weight is None else own_weight
        phase.name = name or phase.loss.name
        phase.needs_reference, phase.ld_alpha = phase.loss.needs_reference, phase.loss.ld_alpha
        if phase.loss.includes_nll and phase.nll_weight > 0:
            raise ConfigError(
                f"{type(phase.loss).__name__} has its own likelihood term; set model.nll_weight to 0 (it is "
                f"{phase.nll_weight})"
            )
        return phase

    def examples(self, data: Sequence[Example]) -> list[Example]:
        return list(data)

    def objective(
        self, batch: PackedBatch, logps: torch.Tensor, reference: PairLogps | torch.Tensor | None
    ) -> StepLoss:
        assert not isinstance(reference, torch.Tensor)  # `reference_tokens` is False
        policy = pair_logps(batch, logps, self.ld_alpha)
        return preference_objective(self.loss, self.nll_weight, policy, reference, batch)


class PhasePlan:
    """The phases of every round, one after the other.

    Args:
        phases: at least one; of several, a phase that sets no number of epochs takes 1.

    Raises:
        ConfigError: no phase, or two of one name.

    Example:
        >>> plan = PhasePlan([SFTPhase(), PreferencePhase(epochs=2)])
        >>> plan.epochs
        3
        >>> plan.first_epoch(5)  # the second round's DPO began with epoch 4
        4
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        if not phases:
            raise ConfigError("model.phases is empty; name at least one phase, or leave it out")
        names = [phase.name for phase in phases]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ConfigError(
                f"model.phases has {names.count(double[0])} phases named {double[0]!r}; give each its own `name`"
            )
        self.phases = tuple(phases)

    def __len__(self) -> int:
        return len(self.phases)

    def __iter__(self) -> Iterator[Phase]:
        return iter(self.phases)

    @property
    def epochs(self) -> int | None:
        """Epochs of a round; None: the data's setting."""
        if len(self) == 1:
            return self.phases[0].epochs
        return sum(phase.epochs or 1 for phase in self)

    @property
    def needs_reference(self) -> bool:
        """Whether any phase reads the reference."""
        return any(phase.needs_reference for phase in self)

    @property
    def needs_short_prompt(self) -> bool:
        """Whether any phase leaves out pairs without a short prompt."""
        return any(phase.needs_short_prompt for phase in self)

    @property
    def needs_group(self) -> bool:
        """Whether any phase leaves out pairs without a group."""
        return any(phase.needs_group for phase in self)

    @property
    def compares(self) -> bool:
        """Whether any phase compares two answers."""
        return any(phase.compares for phase in self)

    def at(self, epoch: int) -> Phase:
        """Return the phase of an epoch of the run, counted from 0."""
        return self._find(epoch)[0]

    def first_epoch(self, epoch: int) -> int:
        """Return the epoch of the run with which the phase of `epoch` began, for a plan of several phases."""
        return self._find(epoch)[1]

    def changes_at(self, epoch: int) -> bool:
        """Return whether the epoch has another phase than the one before it."""
        return len(self) > 1 and self.first_epoch(epoch) == epoch

    def progress(self, epoch: int, fraction: float, epochs: int) -> float:
        """Return the fraction of the current phase that is done, counted over all of its epochs in the run.

        Args:
            epoch: the current epoch, from 0.
            fraction: the part of it that is done.
            epochs: number of epochs of the run.
        """
        phase = self.at(epoch)
        own = [e for e in range(epochs) if self.at(e) is phase]
        return (sum(e < epoch for e in own) + fraction) / max(1, len(own))

    def _find(self, epoch: int) -> tuple[Phase, int]:
        if len(self) == 1:
            return self.phases[0], 0
        length = self.epochs
        assert length is not None
        first = epoch - epoch % length
        for phase in self:
            if epoch < first + (phase.epochs or 1):
                return phase, first
            first += phase.epochs or 1
        raise AssertionError("an epoch of a round belongs to one of its phases")
