"""Odds-ratio preference optimization (arXiv:2403.07691)."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from longmab_pl.checks import positive
from longmab_pl.training.losses.base import PairLogps, PairLosses, PreferenceLoss


class ORPO(PreferenceLoss):
    """Odds-ratio preference optimization (https://arxiv.org/abs/2403.07691, eq. 6-7).

    The likelihood of the chosen completion plus the log odds ratio, without a reference. A completion's probability is
    that of its geometric-mean token, so its log is the mean log-probability. The likelihood term is part of the loss
    (over the completion only): `nll_weight` must be 0.

    Args:
        weight: of the odds-ratio term (the paper's lambda).
    """

    name = "orpo"
    needs_reference = False
    includes_nll = True

    def __init__(self, weight: float = 0.1) -> None:
        positive("loss.weight", weight)
        self.weight = weight

    def __call__(self, policy: PairLogps, reference: PairLogps | None) -> PairLosses:
        chosen, rejected = policy.means()
        log_odds_ratio = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
        losses = -chosen - self.weight * logsigmoid(log_odds_ratio)
        return PairLosses(losses, self.weight * chosen.detach(), self.weight * rejected.detach())


def _log1mexp(logp: torch.Tensor) -> torch.Tensor:
    """Return log(1 - exp(logp)) for logp < 0, exact at both ends.

    A probability of 1 is taken as 1 - 1e-6, so that its odds are finite.
    """
    logp = logp.clamp(max=-1e-6)
    return torch.where(logp > -0.693, torch.log(-torch.expm1(logp)), torch.log1p(-torch.exp(logp)))
