"""Length-normalized DPO (Tulu 3, arXiv:2411.15124)."""

from __future__ import annotations

from torch.nn.functional import logsigmoid

from longmab_pl.checks import positive
from longmab_pl.training.losses.base import BetaLoss, PairLogps, PairLosses, log_ratios


class LengthNormalizedDPO(BetaLoss):
    """DPO on log-ratios that are means over tokens (https://arxiv.org/abs/2411.15124).

    Length alone brings no reward.

    Args:
        beta: larger than DPO's, because means are small (Tulu 3 uses 5).
    """

    name = "dpo"

    def __init__(self, beta: float = 5.0) -> None:
        positive("loss.beta", beta)
        self.beta = beta

    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        chosen, rejected = log_ratios(policy, reference)
        chosen = self.beta * chosen / policy.chosen_tokens
        rejected = self.beta * rejected / policy.rejected_tokens
        return PairLosses(-logsigmoid(chosen - rejected), chosen.detach(), rejected.detach())
