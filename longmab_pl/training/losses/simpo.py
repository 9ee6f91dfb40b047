"""SimPO (arXiv:2405.14734)."""

from __future__ import annotations

from torch.nn.functional import logsigmoid

from longmab_pl.checks import positive
from longmab_pl.training.losses.base import BetaLoss, PairLogps, PairLosses


class SimPO(BetaLoss):
    """SimPO (https://arxiv.org/abs/2405.14734, eq. 6): no reference, mean log-probabilities, a target margin.

    Args:
        beta: scale of the mean log-probability.
        gamma: the target margin between the two rewards.
    """

    name = "simpo"
    needs_reference = False

    def __init__(self, beta: float = 2.0, gamma: float = 1.0) -> None:
        positive("loss.beta", beta)
        self.beta = beta
        self.gamma = gamma

    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        chosen, rejected = (self.beta * mean for mean in policy.means())
        return PairLosses(-logsigmoid(chosen - rejected - self.gamma), chosen.detach(), rejected.detach())
