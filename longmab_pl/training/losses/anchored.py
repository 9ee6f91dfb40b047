"""Losses that judge each completion against the reference for itself, not only the margin between the two."""

from __future__ import annotations

import torch

from longmab_pl.training.losses.base import Losses, PreferenceLoss, positive


class APOZero(PreferenceLoss):
    """Anchored preference optimization, "zero" (arXiv:2408.06266): raise the chosen and lower the rejected completion,
    each alone.

    The loss is 1 - sigmoid(beta h_chosen) + sigmoid(beta h_rejected), h each completion's log-ratio to the reference.

    Args:
        beta: as in DPO.
    """

    def __init__(self, beta: float = 0.1) -> None:
        self.beta = positive("beta", beta)

    def __call__(
        self,
        policy_chosen_logps: torch.Tensor,
        policy_rejected_logps: torch.Tensor,
        reference_chosen_logps: torch.Tensor,
        reference_rejected_logps: torch.Tensor,
        chosen_tokens: torch.Tensor,
        rejected_tokens: torch.Tensor,
    ) -> Losses:
        chosen = self.beta * (policy_chosen_logps - reference_chosen_logps)
        rejected = self.beta * (policy_rejected_logps - reference_rejected_logps)
        return 1 - torch.sigmoid(chosen) + torch.sigmoid(rejected), chosen.detach(), rejected.detach()


class KTOPair(PreferenceLoss):
    """Kahneman-Tversky optimization on pairs (arXiv:2402.01306, eq. 8, as its authors apply it to preference pairs).

    A completion is compared with how far the policy has moved from the reference on the batch's completions of the
    other kind: 1 - sigmoid(beta (h_chosen - KL_rejected)) + 1 - sigmoid(beta (KL_chosen - h_rejected)), where KL is the
    mean of the log-ratios over the batch, at least 0, without a gradient. The estimate is one of a few pairs: use
    batches of several.

    Args:
        beta: as in DPO.
    """

    def __init__(self, beta: float = 0.1) -> None:
        self.beta = positive("beta", beta)

    def __call__(
        self,
        policy_chosen_logps: torch.Tensor,
        policy_rejected_logps: torch.Tensor,
        reference_chosen_logps: torch.Tensor,
        reference_rejected_logps: torch.Tensor,
        chosen_tokens: torch.Tensor,
        rejected_tokens: torch.Tensor,
    ) -> Losses:
        chosen = policy_chosen_logps - reference_chosen_logps
        rejected = policy_rejected_logps - reference_rejected_logps
        chosen_kl = chosen.detach().mean().clamp(min=0)
        rejected_kl = rejected.detach().mean().clamp(min=0)
        losses = (
            2 - torch.sigmoid(self.beta * (chosen - rejected_kl)) - torch.sigmoid(self.beta * (chosen_kl - rejected))
        )
        return losses, self.beta * chosen.detach(), self.beta * rejected.detach()
