"""DPO (arXiv:2305.18290) and its length-desensitized form (arXiv:2409.06411)."""

from __future__ import annotations

from torch.nn.functional import logsigmoid

from longmab_pl.checks import positive, unit_interval
from longmab_pl.training.losses.base import BetaLoss, PairLogps, PairLosses, error_rate, log_ratios


class SigmoidDPO(BetaLoss):
    """Direct preference optimization (https://arxiv.org/abs/2305.18290, eq. 7).

    The loss is -log sigmoid(beta h), where h is the difference of the two log-ratios to the reference.

    Args:
        beta: strength of the pull to the reference.
        label_smoothing: probability in [0, 0.5) that a label is wrong (conservative DPO,
            https://ericmitchell.ai/cdpo.pdf, eq. 3).
    """

    name = "dpo"

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0) -> None:
        positive("loss.beta", beta)
        self.beta = beta
        self.label_smoothing = error_rate("loss.label_smoothing", label_smoothing)

    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        chosen, rejected = (self.beta * ratio for ratio in log_ratios(policy, reference))
        margin = chosen - rejected
        losses = -logsigmoid(margin) * (1 - self.label_smoothing) - logsigmoid(-margin) * self.label_smoothing
        return PairLosses(losses, chosen.detach(), rejected.detach())


class LDDPO(SigmoidDPO):
    """Length-desensitized DPO (https://arxiv.org/abs/2409.06411).

    DPO on sums in which tokens beyond the length of the pair's shorter completion count `alpha`.

    Args:
        beta: as in DPO.
        alpha: in [0, 1]; 1 is DPO.
    """

    def __init__(self, beta: float = 0.1, alpha: float = 0.5) -> None:
        super().__init__(beta)
        unit_interval("loss.alpha", alpha)
        self.ld_alpha = alpha
