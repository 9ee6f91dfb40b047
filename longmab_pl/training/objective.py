"""The losses that a step minimizes, and their metrics."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from longmab_pl.training.batch import PackedBatch
from longmab_pl.training.logprobs import PolicyLogps
from longmab_pl.training.losses import PairLogps, PreferenceLoss


@dataclass(frozen=True)
class StepLoss:
    """The losses of a batch of P pairs or completions.

    An optimizer step minimizes the mean over the units of all its batches: pairs for a preference loss, tokens for
    SFT.

    Args:
        losses: mean loss over the units of each pair or completion, float [P].
        units: the number of units of each, float [P], without gradients.
        metrics: metrics of the batch by name, float [] each, without gradients.
    """

    losses: torch.Tensor
    units: torch.Tensor
    metrics: dict[str, torch.Tensor]

    def mean(self) -> torch.Tensor:
        """Return the mean loss over the batch's units: float []."""
        return (self.losses * self.units).sum() / self.units.sum()


def preference_objective(
    loss: PreferenceLoss,
    nll_weight: float,
    policy: PolicyLogps,
    reference: PairLogps | None,
    batch: PackedBatch,
) -> StepLoss:
    """Return preference loss + `nll_weight` x mean negative log-likelihood of the chosen completion's tokens.

    Args:
        loss: the preference loss.
        nll_weight: weight of the likelihood term.
        policy: the batch's log-probabilities under the policy.
        reference: the log-probabilities under the reference; None for a loss without one.
        batch: the batch, for its number of tokens.

    Returns:
        The losses of P pairs, one unit each; the metrics have TRL's names.
    """
    losses, chosen_rewards, rejected_rewards = loss(policy, reference)
    losses = losses + nll_weight * policy.chosen_nll
    metrics = {
        "loss": losses.detach().mean(),
        "rewards/chosen": chosen_rewards.mean(),
        "rewards/rejected": rejected_rewards.mean(),
        "rewards/accuracies": (chosen_rewards > rejected_rewards).float().mean(),
        "rewards/margins": (chosen_rewards - rejected_rewards).mean(),
        "logps/chosen": policy.chosen.detach().mean(),
        "logps/rejected": policy.rejected.detach().mean(),
        "nll_loss": policy.chosen_nll.detach().mean(),
        "tokens": losses.new_tensor(float(batch.tokens)),
    }
    return StepLoss(losses, torch.ones_like(losses).detach(), metrics)


def sft_objective(sums: torch.Tensor, lengths: torch.Tensor, batch: PackedBatch) -> StepLoss:
    """Return the negative log-likelihood of the batch's chosen completions, every token that counts equally.

    Args:
        sums: summed log-probability of each completion's tokens, nats, float [P].
        lengths: the number of these tokens, float [P].
        batch: the batch, for its number of tokens.

    Example:
        >>> step = sft_objective(torch.tensor([-6.0, -2.0]), torch.tensor([3.0, 1.0]), batch)  # doctest: +SKIP
        >>> float(step.mean())  # 8 nats over 4 tokens  # doctest: +SKIP
        2.0
    """
    losses = -sums / lengths
    mean = (-sums.detach()).sum() / lengths.sum()
    metrics = {"loss": mean, "nll_loss": mean, "tokens": losses.new_tensor(float(batch.tokens))}
    return StepLoss(losses, lengths, metrics)
