"""Preference losses, one small class each.

Every loss takes, per pair, the summed log-probabilities (nats, float [P]) of the chosen and the rejected completion
under
the policy and under the reference, with their lengths in tokens (float [P]), and returns the losses [P] and the
implicit
rewards of both completions [P], which carry no gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F

from longmab_pl.errors import ConfigError

Losses = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class PreferenceLoss(ABC):
    """A loss over preference pairs; configured by `class_path`."""

    needs_reference: ClassVar[bool] = True
    """Whether the reference's log-probabilities are used; if not, zeros are given and no reference pass is run."""

    includes_nll: ClassVar[bool] = False
    """Whether the loss holds its own likelihood term for the chosen completion."""

    excess_weight: float = 1.0
    """Weight of a completion's tokens beyond the length of the pair's shorter completion (LD-DPO); 1 counts all
    alike."""

    @abstractmethod
    def __call__(
        self,
        policy_chosen_logps: torch.Tensor,
        policy_rejected_logps: torch.Tensor,
        reference_chosen_logps: torch.Tensor,
        reference_rejected_logps: torch.Tensor,
        chosen_tokens: torch.Tensor,
        rejected_tokens: torch.Tensor,
    ) -> Losses:
        """Losses, chosen rewards and rejected rewards, each float [P]."""


class SigmoidDPO(PreferenceLoss):
    """DPO (arXiv:2305.18290, eq. 7): -log sigmoid(beta h), h the difference of the two log-ratios to the reference.

    Args:
        beta: strength of the pull to the reference.
        label_smoothing: probability in [0, 0.5) that a label is wrong (conservative DPO, the authors' note
            "A note on DPO with noisy preferences", eq. 3).
    """

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0) -> None:
        self.beta = _positive("beta", beta)
        self.label_smoothing = _error_rate("label_smoothing", label_smoothing)

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
        self.excess_weight = alpha


class RobustDPO(PreferenceLoss):
    """Provably robust DPO (arXiv:2403.00409): unbiased under labels that are flipped with a known probability.

    Args:
        beta: as in DPO.
        flip_probability: in [0, 0.5).
    """

    def __init__(self, beta: float = 0.1, flip_probability: float = 0.1) -> None:
        self.beta = _positive("beta", beta)
        self.flip_probability = _error_rate("flip_probability", flip_probability)

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
    """SLiC's hinge (arXiv:2305.10425, eq. 1) on DPO's margin, normalised as in RSO (arXiv:2309.06657): max(0, 1 - beta
    h).

    Args:
        beta: 1 / beta is the margin, in nats, from which on a pair is content.
    """

    def __init__(self, beta: float = 0.1) -> None:
        self.beta = _positive("beta", beta)

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
    """Identity preference optimisation (arXiv:2310.12036, eq. 17): (h - 1 / (2 tau))^2.

    Args:
        tau: the regularisation; the margin aimed at is 1 / (2 tau) nats.
        per_token: take log-ratios as means over tokens, as the paper's authors advise for language models (and TRL
            does);
            False sums them, as the paper's formula reads.
    """

    def __init__(self, tau: float = 0.1, per_token: bool = True) -> None:
        self.tau = _positive("tau", tau)
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


class LengthNormalisedDPO(PreferenceLoss):
    """DPO on log-ratios that are means over tokens (Tulu 3, arXiv:2411.15124), so that length brings no reward.

    Args:
        beta: larger than DPO's, since means are small (Tulu 3 uses 5).
    """

    def __init__(self, beta: float = 5.0) -> None:
        self.beta = _positive("beta", beta)

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


class APOZero(PreferenceLoss):
    """Anchored preference optimisation, "zero" (arXiv:2408.06266): raise the chosen and lower the rejected completion,
    each alone.

    The loss is 1 - sigmoid(beta h_chosen) + sigmoid(beta h_rejected), h each completion's log-ratio to the reference.

    Args:
        beta: as in DPO.
    """

    def __init__(self, beta: float = 0.1) -> None:
        self.beta = _positive("beta", beta)

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


class SimPO(PreferenceLoss):
    """SimPO (arXiv:2405.14734, eq. 6): reference-free, on mean log-probabilities with a target margin.

    Args:
        beta: scale of the mean log-probability.
        gamma: the target margin between the two rewards.
    """

    needs_reference = False

    def __init__(self, beta: float = 2.0, gamma: float = 1.0) -> None:
        self.beta = _positive("beta", beta)
        self.gamma = gamma

    def __call__(
        self,
        policy_chosen_logps: torch.Tensor,
        policy_rejected_logps: torch.Tensor,
        reference_chosen_logps: torch.Tensor,
        reference_rejected_logps: torch.Tensor,
        chosen_tokens: torch.Tensor,
        rejected_tokens: torch.Tensor,
    ) -> Losses:
        chosen = self.beta * policy_chosen_logps / chosen_tokens
        rejected = self.beta * policy_rejected_logps / rejected_tokens
        return -F.logsigmoid(chosen - rejected - self.gamma), chosen.detach(), rejected.detach()


class ORPO(PreferenceLoss):
    """Odds-ratio preference optimisation (arXiv:2403.07691, eq. 6-7): likelihood of the chosen completion plus the log
    odds ratio.

    A completion's probability is that of its geometric-mean token, so its log is the mean log-probability. The NLL
    term is
    part of the loss (over the completion only): set `nll_weight` to 0.

    Args:
        weight: of the odds-ratio term (the paper's lambda).
    """

    needs_reference = False
    includes_nll = True

    def __init__(self, weight: float = 0.1) -> None:
        self.weight = _positive("weight", weight)

    def __call__(
        self,
        policy_chosen_logps: torch.Tensor,
        policy_rejected_logps: torch.Tensor,
        reference_chosen_logps: torch.Tensor,
        reference_rejected_logps: torch.Tensor,
        chosen_tokens: torch.Tensor,
        rejected_tokens: torch.Tensor,
    ) -> Losses:
        chosen = policy_chosen_logps / chosen_tokens
        rejected = policy_rejected_logps / rejected_tokens
        log_odds_ratio = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
        losses = -chosen - self.weight * F.logsigmoid(log_odds_ratio)
        return losses, self.weight * chosen.detach(), self.weight * rejected.detach()


def _log1mexp(logp: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(logp)) for logp < 0, exact at both ends; a probability of 1 is taken as 1 - 1e-6 so that its odds
    are finite."""
    logp = logp.clamp(max=-1e-6)
    return torch.where(logp > -0.693, torch.log(-torch.expm1(logp)), torch.log1p(-torch.exp(logp)))


def _positive(name: str, value: float) -> float:
    if value <= 0:
        raise ConfigError(f"loss.{name} is {value}; it must be positive")
    return value


def _error_rate(name: str, value: float) -> float:
    if not 0 <= value < 0.5:
        raise ConfigError(f"loss.{name} is {value}; it must be in [0, 0.5)")
    return value
