"""What every preference loss is: log-probabilities of pairs in, losses and implicit rewards out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from longmab_pl.errors import ConfigError

Losses = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Losses, chosen rewards and rejected rewards, each float [P]."""


class PreferenceLoss(ABC):
    """A loss over preference pairs; configured by `class_path`.

    It takes, per pair, the summed log-probabilities (nats, float [P]) of the chosen and the rejected completion under
    the policy and under the reference, with their lengths in tokens (float [P]), and returns the losses [P] and the
    implicit rewards of both completions [P], which carry no gradient. Only compared tokens are in sums and lengths.
    """

    needs_reference: ClassVar[bool] = True
    """Whether the reference's log-probabilities are used; if not, zeros are given and no reference pass is run."""

    includes_nll: ClassVar[bool] = False
    """Whether the loss holds its own likelihood term for the chosen completion."""

    ld_alpha: float = 1.0
    """Weight of a completion's tokens beyond the length of the pair's shorter completion (LD-DPO); 1 counts all
    alike."""

    @abstractmethod
    def __call__(
        self,
        policy_chosen_logps: torch.Tensor,
        policy_rejected_logps: torch.Tensor,
        reference_chosen_logps: torch.Tensor,
        reference_rejected_logps: torch.Tensor,
        chosen_tokens: torch.Tensor,
        rejected_tokens: torch.Tensor,
    ) -> Losses:
        """Losses, chosen rewards and rejected rewards, each float [P]."""


def positive(name: str, value: float) -> float:
    """The value, or a ConfigError that names the setting."""
    if value <= 0:
        raise ConfigError(f"loss.{name} is {value}; it must be positive")
    return value


def error_rate(name: str, value: float) -> float:
    """The value, or a ConfigError that names the setting."""
    if not 0 <= value < 0.5:
        raise ConfigError(f"loss.{name} is {value}; it must be in [0, 0.5)")
    return value
