"""A phase that minimizes the weighted sum of several losses on the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import torch

from longmab_pl.errors import ConfigError
from longmab_pl.training.batch import Example, PackedBatch, PreferenceExample, Role
from longmab_pl.training.losses import PairLogps
from longmab_pl.training.objective import StepLoss
from longmab_pl.training.phases import Phase, PreferencePhase
from longmab_pl.training.terms import LikelihoodTerm, PreferenceTerm, ShortToLong, StepLogps, Term


class WeightedPhase(Phase):
    """The weighted sum of several losses on the same pairs: DPO + likelihood + short-to-long, say.

    A step computes every completion once, whatever the number of losses that read it. The reference's
    log-probabilities are computed in every step (`model.precompute_reference` cannot store them).

    Args:
        losses: the terms; their names differ.
        epochs: see `Phase`.
        learning_rate: see `Phase`.
        name: see `Phase`.

    Example:
        >>> phase = WeightedPhase([PreferenceTerm(), LikelihoodTerm(0.1), ShortToLongTerm(3.0)])
        >>> phase.roles
        ('chosen', 'rejected', 'short_chosen')
    """

    reference_tokens = True

    def __init__(
        self,
        losses: list[Term],
        epochs: int | None = None,
        learning_rate: float | None = None,
        name: str = "weighted",
    ) -> None:
        super().__init__(name, epochs, learning_rate)
        if not losses:
            raise ConfigError("model.losses is empty; name at least one term, or leave it out")
        names = [term.name for term in losses]
        if double := sorted({n for n in names if names.count(n) > 1}):
            raise ConfigError(f"model.losses has {names.count(double[0])} terms named {double[0]!r}; name each once")
        self.losses = tuple(losses)
        read = {role for term in losses for role in term.roles}
        self.roles: tuple[Role, ...] = tuple(role for role in get_args(Role) if role in read)
        self.needs_reference = any(term.needs_reference for term in losses)
        self.reference_samples = any(term.reference_samples for term in losses)
        self.needs_group = "group" in read
        self.needs_short_prompt = any(role.startswith("short_") for role in read)

    @classmethod
    def short_to_long(cls, phase: PreferencePhase, settings: ShortToLong) -> WeightedPhase:
        """Return a preference phase with the short-to-long term beside its loss and its likelihood term."""
        terms: list[Term] = [PreferenceTerm(phase.loss, prompt=settings.preference)]
        if phase.nll_weight > 0:
            terms.append(LikelihoodTerm(phase.nll_weight))
        terms.append(settings.term(phase.loss))
        return cls(terms, phase.epochs, phase.learning_rate, phase.name)

    def examples(self, data: Sequence[Example]) -> list[Example]:
        return [replace(pair, roles=self.roles) for pair in data if isinstance(pair, PreferenceExample)]

    def objective(
        self, batch: PackedBatch, logps: torch.Tensor, reference: PairLogps | torch.Tensor | None
    ) -> StepLoss:
        assert not isinstance(reference, PairLogps)  # `reference_tokens`
        step = StepLogps(batch, logps, reference)
        losses = logps.new_zeros(len(batch))
        metrics: dict[str, torch.Tensor] = {}
        for term in self.losses:
            found = term(step)
            losses = losses + term.weight * found.losses
            metrics |= found.metrics | {f"loss/{term.name}": found.losses.detach().mean()}
        metrics |= {"loss": losses.detach().mean(), "tokens": losses.new_tensor(float(batch.tokens)).detach()}
        return StepLoss(losses, torch.ones_like(losses).detach(), metrics)
