"""The interface of weighted losses: one step's log-probabilities in, a loss for each pair out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch

from longmab_pl.checks import positive
from longmab_pl.training.batch import PackedBatch, Role
from longmab_pl.training.logprobs import PolicyLogps, PromptKind, chosen_logps, pair_logps


@dataclass(frozen=True)
class StepLogps:
    """Log-probabilities of one step's completion tokens.

    Args:
        batch: batch of P pairs with N completion tokens.
        policy: log-probability of each completion token under the policy, nats, float [N].
        reference: likewise under the reference, without gradients; None if no term of the step needs it.
    """

    batch: PackedBatch
    policy: torch.Tensor
    reference: torch.Tensor | None

    def pairs(self, prompt: PromptKind = "long", ld_alpha: float = 1.0) -> PolicyLogps:
        """Return the pairs' sums under the policy, as `pair_logps` does."""
        return pair_logps(self.batch, self.policy, ld_alpha, prompt)

    def reference_pairs(self, prompt: PromptKind = "long", ld_alpha: float = 1.0) -> PolicyLogps:
        """Return the pairs' sums under the reference."""
        return pair_logps(self.batch, self.reference_tokens, ld_alpha, prompt)

    def chosen_log_ratios(self, prompt: PromptKind = "long") -> torch.Tensor:
        """Return log(policy / reference) of each chosen completion after this prompt, nats, float [P]."""
        policy, _ = chosen_logps(self.batch, self.policy, prompt)
        reference, _ = chosen_logps(self.batch, self.reference_tokens, prompt)
        return policy - reference

    @property
    def reference_tokens(self) -> torch.Tensor:
        """Return `reference`, which a term with `needs_reference` can rely on."""
        if self.reference is None:
            raise ValueError("this term compares with a reference, and none was given; set needs_reference")
        return self.reference


class TermLoss(NamedTuple):
    """What a term returns for P pairs.

    Args:
        losses: float [P], with gradients, before the weight.
        metrics: metrics of the batch by name, float [] each, without gradients.
    """

    losses: torch.Tensor
    metrics: dict[str, torch.Tensor]


class Term(ABC):
    """One of the weighted losses whose sum a step minimizes; configs list terms in `model.losses`.

    Implementations: the classes of `longmab_pl.training.terms`.

    Args:
        name: name in metrics (`loss/<name>`); the names of a list's terms differ.
        weight: factor of the term's loss.

    Example:
        >>> class ChosenLength(Term):
        ...     roles = ("chosen",)
        ...
        ...     def __call__(self, step: StepLogps) -> TermLoss:
        ...         return TermLoss(-step.pairs().chosen / 100, {})
    """

    roles: tuple[Role, ...] = ()
    """The completions that it reads; a step computes those of all its terms."""

    needs_reference: bool = False
    """Whether it reads the reference; without such a term no reference pass is run."""

    reference_samples: bool = False
    """Whether the reference must be the policy that sampled the responses (`model.reference: round_start`)."""

    def __init__(self, name: str, weight: float) -> None:
        positive("losses.weight", weight, "leave the term out in place of a weight of 0")
        self.name = name
        self.weight = weight

    @abstractmethod
    def __call__(self, step: StepLogps) -> TermLoss:
        """Return the losses of the step's P pairs."""
