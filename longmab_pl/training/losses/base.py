"""The interface of preference losses: log-probabilities of pairs in, losses and implicit rewards out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch

from longmab_pl.checks import between


@dataclass(frozen=True)
class PairLogps:
    """Log-probabilities of P pairs under one model.

    Only tokens that the completion mask keeps are in sums and lengths.

    Args:
        chosen: summed log-probability of each chosen completion, nats, float [P].
        rejected: summed log-probability of each rejected completion, nats, float [P].
        chosen_tokens: length of each chosen completion, tokens, float [P].
        rejected_tokens: length of each rejected completion, tokens, float [P].
    """

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor

    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean log-probability per token of the chosen and of the rejected completion, [P] each."""
        return self.chosen / self.chosen_tokens, self.rejected / self.rejected_tokens


class PairLosses(NamedTuple):
    """What a preference loss returns for P pairs.

    Args:
        losses: float [P], with gradients.
        chosen_rewards: implicit reward of each chosen completion, float [P], without gradients.
        rejected_rewards: implicit reward of each rejected completion, float [P], without gradients.
    """

    losses: torch.Tensor
    chosen_rewards: torch.Tensor
    rejected_rewards: torch.Tensor


class PreferenceLoss(ABC):
    """A loss over preference pairs; configs name its class in `model.loss`.

    Implementations: the classes of `longmab_pl.training.losses`.

    Example:
        >>> class Margin(PreferenceLoss):
        ...     name = "margin"
        ...
        ...     def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        ...         chosen, rejected = log_ratios(policy, reference)
        ...         return PairLosses(rejected - chosen, chosen.detach(), rejected.detach())
    """

    name: ClassVar[str] = "preference"
    """Name of a phase with this loss in metrics and on the progress bar."""

    needs_reference: ClassVar[bool] = True
    """Whether the loss reads the reference; if not, no reference pass is run and `reference` is None."""

    includes_nll: ClassVar[bool] = False
    """Whether the loss has its own likelihood term for the chosen completion."""

    ld_alpha: float = 1.0
    """Weight of a completion's tokens beyond the length of the pair's shorter completion (LD-DPO); 1 counts all tokens
    equally. The sums that the loss is given are weighted already."""

    @abstractmethod
    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        """Return losses and implicit rewards of P pairs.

        Args:
            policy: the pairs under the policy.
            reference: the same pairs under the reference; None where `needs_reference` is False.
        """


class BetaLoss(PreferenceLoss):
    """A preference loss with the setting `beta`, which `model.beta` can change."""

    beta: float
    """Strength of the pull to the reference, or scale of the reward."""

    def with_beta(self, beta: float) -> Self:
        """Return the same loss with another `beta`."""
        changed = copy.copy(self)
        changed.beta = beta
        return changed


def log_ratios(policy: PairLogps, reference: PairLogps | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log(policy / reference) of the chosen and of the rejected completion, nats, [P] each.

    Example:
        >>> chosen, rejected = log_ratios(policy, reference)  # doctest: +SKIP
        >>> h = chosen - rejected  # the margin of DPO, eq. 7  # doctest: +SKIP
    """
    if reference is None:
        raise ValueError("this loss compares with a reference, and none was given")
    return policy.chosen - reference.chosen, policy.rejected - reference.rejected


def error_rate(name: str, value: float) -> float:
    """Return the value. Raises `ConfigError`, naming the setting, if it is out of range."""
    between(name, value, 0, 0.5, open_end=True)
    return value
