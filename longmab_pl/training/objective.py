"""What a step minimizes, and what it says of itself."""

from __future__ import annotations

import torch

from longmab_pl.training.batch import PackedBatch
from longmab_pl.training.logprobs import PolicyLogps
from longmab_pl.training.losses import PairLogps, PreferenceLoss


def objective(
    loss: PreferenceLoss,
    nll_weight: float,
    policy: PolicyLogps,
    reference: PairLogps | None,
    batch: PackedBatch,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Preference loss + `nll_weight` x mean negative log-likelihood of the chosen completion's tokens, of each pair.

    Args:
        loss: the preference loss.
        nll_weight: of the likelihood term.
        policy: the batch's log-probabilities under the policy.
        reference: those under the reference; None for a loss without one.
        batch: for its number of tokens.

    Returns:
        Losses, float [P], and the metrics of the batch by name (TRL's names), without gradients.
    """
    losses, chosen_rewards, rejected_rewards = loss(policy, reference)
    losses = losses + nll_weight * policy.chosen_nll
    return losses, {
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
