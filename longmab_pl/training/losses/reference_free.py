"""Losses without a reference, on mean log-probabilities."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from longmab_pl.training.losses.base import Losses, PreferenceLoss, positive


class SimPO(PreferenceLoss):
    """SimPO (arXiv:2405.14734, eq. 6): reference-free, on mean log-probabilities with a target margin.

    Args:
        beta: scale of the mean log-probability.
        gamma: the target margin between the two rewards.
    """

    needs_reference = False

    def __init__(self, beta: float = 2.0, gamma: float = 1.0) -> None:
        self.beta = positive("beta", beta)
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
    """Odds-ratio preference optimization (arXiv:2403.07691, eq. 6-7): likelihood of the chosen completion plus the log
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
        self.weight = positive("weight", weight)

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
