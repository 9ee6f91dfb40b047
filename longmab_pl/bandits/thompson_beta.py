"""Thompson sampling with a Beta posterior for each arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores, check_unit_reward
from longmab_pl.bandits.policy import Reward, check_play
from longmab_pl.checks import not_negative, one_of

_MARGIN = 0.01


class ThompsonBeta(IndexPolicy):
    """Draws every arm's mean from its posterior and plays the largest draws (Komiyama, Honda and Nakagawa 2015, MP-TS).

    Prior: `Beta(w s, w (1 - s))` for initial score s (clipped to [0.01, 0.99], so both parameters are positive) and
    `prior_weight` w. A reward r in [0, 1] adds r to the first parameter and 1 - r to the second (`fractional`), or a
    draw of a Bernoulli variable with mean r (`bernoulli`, Agrawal and Goyal 2012, algorithm 2: the form that regret
    bounds are proved for, with additional noise). `values` are the posterior means.

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms per round; if it exceeds the number of arms, all are played.
        seed: seed of the draws.
        update_rule: `fractional` or `bernoulli`.
        prior_weight: number of observations that the initial score counts as.

    Raises:
        DataError: there are no arms, or a score is not finite.
        ConfigError: `top_k` < 1, `prior_weight` <= 0, the seed is negative, or `update_rule` is unknown.
    """

    def __init__(
        self,
        initial_scores: Scores,
        top_k: int,
        seed: int = 0,
        update_rule: Literal["fractional", "bernoulli"] = "fractional",
        prior_weight: float = 1.0,
    ) -> None:
        super().__init__(initial_scores, top_k, prior_weight)
        not_negative("seed", seed)
        one_of("bandit option update_rule", update_rule, ("fractional", "bernoulli"))
        self.update_rule = update_rule
        self._values = self._values.clip(_MARGIN, 1 - _MARGIN)
        self._random = np.random.default_rng(seed)

    def index(self) -> npt.NDArray[np.float64]:
        """Return one draw of each arm's mean from its posterior, shape [arms]."""
        successes = np.maximum(self._values * self.observations, 1e-9)
        failures = np.maximum((1 - self._values) * self.observations, 1e-9)
        return self._random.beta(successes, failures)

    def update(self, indices: Sequence[int], reward: Reward) -> None:
        """Credit `reward` to each played arm, or one reward to each.

        Raises:
            DataError: as for `IndexPolicy.update`, or a reward is outside [0, 1].
        """
        _, rewards = check_play(indices, reward, self._values.size)
        check_unit_reward(rewards, "Thompson sampling with a Beta posterior")
        if self.update_rule == "bernoulli":
            coins = 1 if np.ndim(reward) == 0 else rewards.size  # one shared reward gives one draw for all arms
            rewards = np.broadcast_to(self._random.random(coins) < rewards[:coins], rewards.shape).astype(np.float64)
        super().update(indices, rewards)
