"""Losses of the margin between the two log-ratios to the reference: DPO and its nearest kin."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from longmab_pl.errors import ConfigError
from longmab_pl.training.losses.base import Losses, PreferenceLoss, error_rate, positive


class SigmoidDPO(PreferenceLoss):
    """DPO (arXiv:2305.18290, eq. 7): -log sigmoid(beta h), h the difference of the two log-ratios to the reference.

    Args:
        beta: strength of the pull to the reference.
        label_smoothing: probability in [0, 0.5) that a label is wrong (conservative DPO, the authors' note
            "A note on DPO with noisy preferences", eq. 3).
    """

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0) -> None:
        self.beta = positive("beta", beta)
        self.label_smoothing = error_rate("label_smoothing", label_smoothing)

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
        margin = chosen - rejected
        losses = -F.logsigmoid(margin) * (1 - self.label_smoothing) - F.logsigmoid(-margin) * self.label_smoothing
        return losses, chosen.detach(), rejected.detach()


class LDDPO(SigmoidDPO):
    """Length-desensitised DPO (arXiv:2409.06411): as DPO, but tokens beyond the shorter completion's length count
    `alpha`.

    Args:
        beta: as in DPO.
        alpha: in [0, 1]; 1 is DPO.
    """

    def __init__(self, beta: float = 0.1, alpha: float = 0.5) -> None:
        super().__init__(beta)
        if not 0 <= alpha <= 1:
            raise ConfigError(f"loss.alpha is {alpha}; it must be in [0, 1]")
        self.ld_alpha = alpha


class RobustDPO(PreferenceLoss):
    """Provably robust DPO (arXiv:2403.00409): unbiased under labels that are flipped with a known probability.

    Args:
        beta: as in DPO.
        flip_probability: in [0, 0.5).
    """

    def __init__(self, beta: float = 0.1, flip_probability: float = 0.1) -> None:
        self.beta = positive("beta", beta)
        self.flip_probability = error_rate("flip_probability", flip_probability)

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
        margin, flip = chosen - rejected, self.flip_probability
        losses = (-(1 - flip) * F.logsigmoid(margin) + flip * F.logsigmoid(-margin)) / (1 - 2 * flip)
        return losses, chosen.detach(), rejected.detach()


class HingeDPO(PreferenceLoss):
    """SLiC's hinge (arXiv:2305.10425, eq. 1) on DPO's margin, normalized as in RSO (arXiv:2309.06657): max(0, 1 - beta
    h).

    Args:
        beta: 1 / beta is the margin, in nats, from which on a pair is content.
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
        return torch.relu(1 - (chosen - rejected)), chosen.detach(), rejected.detach()


class IPO(PreferenceLoss):
    """Identity preference optimization (arXiv:2310.12036, eq. 17): (h - 1 / (2 tau))^2.

    Args:
        tau: the regularization; the margin aimed at is 1 / (2 tau) nats.
        per_token: take log-ratios as means over tokens, as the paper's authors advise for language models (and TRL
            does);
            False sums them, as the paper's formula reads.
    """

    def __init__(self, tau: float = 0.1, per_token: bool = True) -> None:
        self.tau = positive("tau", tau)
        self.per_token = per_token

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
        if self.per_token:
            chosen, rejected = chosen / chosen_tokens, rejected / rejected_tokens
        losses = (chosen - rejected - 1 / (2 * self.tau)) ** 2
        return losses, self.tau * chosen.detach(), self.tau * rejected.detach()


class LengthNormalizedDPO(PreferenceLoss):
    """DPO on log-ratios that are means over tokens (Tulu 3, arXiv:2411.15124), so that length brings no reward.

    Args:
        beta: larger than DPO's, since means are small (Tulu 3 uses 5).
    """

    def __init__(self, beta: float = 5.0) -> None:
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
        chosen = self.beta * (policy_chosen_logps - reference_chosen_logps) / chosen_tokens
        rejected = self.beta * (policy_rejected_logps - reference_rejected_logps) / rejected_tokens
        return -F.logsigmoid(chosen - rejected), chosen.detach(), rejected.detach()
