"""The hinge loss of SLiC (arXiv:2305.10425) on DPO's margin."""

from __future__ import annotations

import torch

from longmab_pl.checks import positive
from longmab_pl.training.losses.base import BetaLoss, PairLogps, PairLosses, log_ratios


class HingeDPO(BetaLoss):
    """SLiC's hinge (https://arxiv.org/abs/2305.10425, eq. 1) on DPO's margin, as RSO normalizes it.

    The loss is max(0, 1 - beta h), see https://arxiv.org/abs/2309.06657.

    Args:
        beta: 1 / beta is the margin, in nats, from which on a pair has no loss.
    """

    name = "dpo"

    def __init__(self, beta: float = 0.1) -> None:
        positive("loss.beta", beta)
        self.beta = beta

    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        chosen, rejected = (self.beta * ratio for ratio in log_ratios(policy, reference))
        return PairLosses(torch.relu(1 - (chosen - rejected)), chosen.detach(), rejected.detach())
