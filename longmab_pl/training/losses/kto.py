"""Kahneman-Tversky optimization (arXiv:2402.01306) on pairs."""

from __future__ import annotations

import torch

from longmab_pl.checks import positive
from longmab_pl.training.losses.base import BetaLoss, PairLogps, PairLosses, log_ratios


class KTOPair(BetaLoss):
    """Kahneman-Tversky optimization (https://arxiv.org/abs/2402.01306, eq. 8) as its authors apply it to pairs.

    Each completion is compared with how far the policy has moved from the reference on the batch's completions of the
    other kind: 1 - sigmoid(beta (h_chosen - KL_rejected)) + 1 - sigmoid(beta (KL_chosen - h_rejected)), where KL is the
    mean of the log-ratios over the batch, at least 0, without a gradient. With few pairs the estimate is rough: use
    batches of several.

    Args:
        beta: as in DPO.
    """

    name = "kto"

    def __init__(self, beta: float = 0.1) -> None:
        positive("loss.beta", beta)
        self.beta = beta

    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        chosen, rejected = log_ratios(policy, reference)
        chosen_kl, rejected_kl = (ratio.detach().mean().clamp(min=0) for ratio in (chosen, rejected))
        raised = torch.sigmoid(self.beta * (chosen - rejected_kl))
        lowered = torch.sigmoid(self.beta * (chosen_kl - rejected))
        return PairLosses(2 - raised - lowered, self.beta * chosen.detach(), self.beta * rejected.detach())
