"""Anchored preference optimization (arXiv:2408.06266)."""

from __future__ import annotations

import torch

from longmab_pl.checks import positive
from longmab_pl.training.losses.base import BetaLoss, PairLogps, PairLosses, log_ratios


class APOZero(BetaLoss):
    """Anchored preference optimization, "zero" (https://arxiv.org/abs/2408.06266, eq. 7).

    It raises the chosen and lowers the rejected completion, each by itself: 1 - sigmoid(beta h_chosen) +
    sigmoid(beta h_rejected), where h is each completion's log-ratio to the reference.

    Args:
        beta: as in DPO.
    """

    name = "apo"

    def __init__(self, beta: float = 0.1) -> None:
        positive("loss.beta", beta)
        self.beta = beta

    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        chosen, rejected = (self.beta * ratio for ratio in log_ratios(policy, reference))
        losses = 1 - torch.sigmoid(chosen) + torch.sigmoid(rejected)
        return PairLosses(losses, chosen.detach(), rejected.detach())
