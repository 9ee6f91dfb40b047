"""Identity preference optimization (arXiv:2310.12036)."""

from __future__ import annotations

from longmab_pl.checks import positive
from longmab_pl.training.losses.base import PairLogps, PairLosses, PreferenceLoss, log_ratios


class IPO(PreferenceLoss):
    """Identity preference optimization (https://arxiv.org/abs/2310.12036, eq. 17): (h - 1 / (2 tau))^2.

    Args:
        tau: the regularization; the target margin is 1 / (2 tau) nats.
        per_token: log-ratios are means over tokens, as the paper's authors advise for language models (and TRL does);
            False sums them, as in the paper's formula.
    """

    name = "ipo"

    def __init__(self, tau: float = 0.1, per_token: bool = True) -> None:
        positive("loss.tau", tau)
        self.tau = tau
        self.per_token = per_token

    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        chosen, rejected = log_ratios(policy, reference)
        if self.per_token:
            chosen, rejected = chosen / policy.chosen_tokens, rejected / policy.rejected_tokens
        losses = (chosen - rejected - 1 / (2 * self.tau)) ** 2
        return PairLosses(losses, self.tau * chosen.detach(), self.tau * rejected.detach())
