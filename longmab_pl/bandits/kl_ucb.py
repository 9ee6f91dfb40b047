"""KL-UCB: confidence bounds in Kullback-Leibler divergence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores, check_unit_reward
from longmab_pl.bandits.policy import Reward, check_play
from longmab_pl.checks import not_negative

_CEILING = 1 - 1e-12
_NEWTON_STEPS = 60


class KLUCB(IndexPolicy):
    """Plays the arms that could still be best by the Bernoulli divergence (Garivier and Cappe 2011, algorithm 1).

    Index: the largest q in [value, 1] with `n kl(value, q) <= ln t + c ln ln t`, `kl` the divergence of Bernoulli
    distributions, n the observations (pseudo-observations included), t the round; with several plays a round as in
    Komiyama, Honda and Nakagawa 2015 (MP-KL-UCB). Valid for any reward in [0, 1]. In round 1 the bound is 0, so
    the initial scores alone decide. Scores are clipped to [0, 1].

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms per round; if it exceeds the number of arms, all are played.
        c: weight of ln ln t, >= 0; 3 in the paper's proof, 0 in its experiments.
        prior_weight: number of observations that the initial score counts as.

    Raises:
        DataError: there are no arms, or a score is not finite.
        ConfigError: `top_k` < 1, `c` < 0 or `prior_weight` <= 0.
    """

    def __init__(self, initial_scores: Scores, top_k: int, c: float = 0.0, prior_weight: float = 1.0) -> None:
        super().__init__(initial_scores, top_k, prior_weight)
        not_negative("bandit option c", c)
        self._values = self._values.clip(0, 1)
        self.c = float(c)

    def index(self) -> npt.NDArray[np.float64]:
        """Return the upper bounds of round `self.round`, shape [arms]."""
        budget = np.log(self.round)
        if self.round >= 3:  # ln ln t is negative in earlier rounds
            budget += self.c * np.log(np.log(self.round))
        return kl_upper_bound(self._values, budget / self.observations)

    def update(self, indices: Sequence[int], reward: Reward) -> None:
        """Credit `reward` to each played arm, or one reward to each.

        Raises:
            DataError: as for `IndexPolicy.update`, or a reward is outside [0, 1].
        """
        check_unit_reward(check_play(indices, reward, self._values.size)[1], "KL-UCB")
        super().update(indices, reward)


def bernoulli_kl(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return `p ln(p/q) + (1-p) ln((1-p)/(1-q))` per element, with 0 ln 0 = 0; p in [0, 1], q in (0, 1)."""
    return -_entropy(p) - p * np.log(q) - (1 - p) * np.log1p(-q)


def kl_upper_bound(p: npt.NDArray[np.float64], divergence: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the largest q >= p with `kl(p, q) <= divergence` per element, to about 1e-12; below 1 unless p is 1.

    Newton's method from the right: kl(p, .) is convex and increasing there, so the steps decrease to the root and never
    pass it. Two bounds give the start: Pinsker's `p + sqrt(d/2)`, and `1 - exp(-(d + H(p)) / (1-p))`, which drops
    `-p ln q >= 0` from kl and is the tight one near 1.

    Args:
        p: means in [0, 1], shape [arms].
        divergence: >= 0, shape [arms].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        near_one = -np.expm1(-(divergence + _entropy(p)) / (1 - p))
    near_one = np.where(p < 1, near_one, 1.0)
    q = np.minimum(np.minimum(p + np.sqrt(divergence / 2), near_one), _CEILING)
    solvable = (p < _CEILING) & (divergence > 0) & (q > p)
    at, x = p[solvable], q[solvable]
    target = divergence[solvable] + _entropy(at)  # the part of kl(at, x) - d that stays the same
    for _ in range(_NEWTON_STEPS):
        step = (-at * np.log(x) - (1 - at) * np.log1p(-x) - target) * x * (1 - x) / (x - at)
        x = np.clip(x - step, at + 1e-15, _CEILING)
        if np.abs(step).max(initial=0.0) < 1e-13:
            break
    bound = p.copy()
    bound[solvable] = x
    return bound


def _entropy(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the entropy of a Bernoulli distribution in nats, 0 at p = 0 and 1."""
    inside = np.clip(p, 1e-300, _CEILING)
    return -(p * np.log(inside) + (1 - p) * np.log1p(-inside))
