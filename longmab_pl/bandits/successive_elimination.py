"""Successive elimination: play the arms in turn, drop those that are clearly not among the best k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores
from longmab_pl.bandits.policy import Reward
from longmab_pl.checks import positive, unit_interval


class SuccessiveElimination(IndexPolicy):
    """Successive elimination for the best `top_k` arms (Even-Dar, Mannor and Mansour 2006, algorithm 3).

    The arms still in are played in turn, fewest plays first, then larger value. After each turn, when all of them
    have one more play, an arm leaves if `value + radius` is below the k-th largest `value - radius`;
    `radius = radius_scale * sqrt(ln(4 K n^2 / delta) / n)` with K arms and n the observations (pseudo-observations
    included). At least `top_k` arms stay.

    `radius_scale` 1 is the paper's guarantee (the best arm survives with probability 1 - delta); within 30 rounds it
    drops nothing. The default drops within the first turns and guarantees nothing.

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms a round; more than there are arms plays all of them.
        delta: allowed probability of a wrong elimination, in (0, 1).
        radius_scale: factor on the radius, > 0.
        prior_weight: how many observations the initial score counts as.

    Raises:
        DataError: no arms or a score that is not finite.
        ConfigError: `top_k` < 1 or an option out of range.
    """

    def __init__(
        self,
        initial_scores: Scores,
        top_k: int,
        delta: float = 0.1,
        radius_scale: float = 0.03,
        prior_weight: float = 1.0,
    ) -> None:
        super().__init__(initial_scores, top_k, prior_weight)
        unit_interval("bandit option delta", delta, "it is a probability, in (0, 1)", zero=False, one=False)
        positive("bandit option radius_scale", radius_scale)
        self.delta, self.radius_scale = float(delta), float(radius_scale)
        self._active = np.ones(self._values.size, dtype=bool)
        self._turns = 0

    @property
    def active(self) -> list[int]:
        """Arms not eliminated, ascending."""
        return np.flatnonzero(self._active).tolist()

    def radius(self) -> npt.NDArray[np.float64]:
        """Half width of each arm's confidence interval, shape [arms]."""
        n = self.observations
        # n below 1 (a weak prior) would make the logarithm negative for few arms.
        return self.radius_scale * np.sqrt(np.log(4 * n.size * np.maximum(n, 1) ** 2 / self.delta) / n)

    def index(self) -> npt.NDArray[np.float64]:
        """Place in the turn, larger is earlier, shape [arms]; eliminated arms are at -inf."""
        order = np.lexsort((self._values, -self._pulls))  # by fewest plays, then by value, the next to play last
        place = np.empty(order.size)
        place[order] = np.arange(order.size)
        return np.where(self._active, place, -np.inf)

    def update(self, indices: Sequence[int], reward: Reward) -> None:
        """Credit `reward` to each played arm, or its own to each; eliminate if this ends a turn.

        Raises:
            DataError: as in `IndexPolicy.update`.
        """
        super().update(indices, reward)
        turns = int(self._pulls[self._active].min())
        if turns > self._turns:
            self._turns = turns
            radius = self.radius()
            lower = np.sort((self._values - radius)[self._active])[-self.top_k]
            self._active &= self._values + radius >= lower
