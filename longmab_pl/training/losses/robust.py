"""Provably robust DPO (arXiv:2403.00409)."""

from __future__ import annotations

from torch.nn.functional import logsigmoid

from longmab_pl.checks import positive
from longmab_pl.training.losses.base import BetaLoss, PairLogps, PairLosses, error_rate, log_ratios


class RobustDPO(BetaLoss):
    """Robust DPO (https://arxiv.org/abs/2403.00409).

    Its expectation under labels that are flipped with a known probability is DPO's loss on the true labels.

    Args:
        beta: as in DPO.
        flip_probability: in [0, 0.5).
    """

    name = "dpo"

    def __init__(self, beta: float = 0.1, flip_probability: float = 0.1) -> None:
        positive("loss.beta", beta)
        self.beta = beta
        self.flip_probability = error_rate("loss.flip_probability", flip_probability)

    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        chosen, rejected = (self.beta * ratio for ratio in log_ratios(policy, reference))
        margin, flip = chosen - rejected, self.flip_probability
        losses = (-(1 - flip) * logsigmoid(margin) + flip * logsigmoid(-margin)) / (1 - 2 * flip)
        return PairLosses(losses, chosen.detach(), rejected.detach())
