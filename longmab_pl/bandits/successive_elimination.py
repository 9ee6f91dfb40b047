"""Successive elimination: arms are played in turn, and those clearly not among the best k are dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores
from longmab_pl.bandits.policy import Reward
from longmab_pl.checks import positive, unit_interval


class SuccessiveElimination(IndexPolicy):
    """Successive elimination for the best `top_k` arms (Even-Dar, Mannor and Mansour 2006, algorithm 3).

    The active arms are played in turn, fewest plays first, then larger value. After each turn, when all of them
    have one more play, an arm is eliminated if `value + radius` is below the k-th largest `value - radius`;
    `radius = radius_scale * sqrt(ln(4 K n^2 / delta) / n)` with K arms and n the observations (pseudo-observations
    included). At least `top_k` arms remain.

    `radius_scale` 1 has the paper's guarantee (the best arm remains with probability 1 - delta), but eliminates nothing
    within 30 rounds. The default eliminates within the first turns, without a guarantee.

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms per round; if it exceeds the number of arms, all are played.
        delta: allowed probability of a wrong elimination, in (0, 1).
        radius_scale: factor on the radius, > 0.
        prior_weight: number of observations that the initial score counts as.

    Raises:
        DataError: there are no arms, or a score is not finite.
        ConfigError: `top_k` < 1, or an option is out of range.
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
        """Indices of the arms not eliminated, ascending."""
        return np.flatnonzero(self._active).tolist()

    def radius(self) -> npt.NDArray[np.float64]:
        """Return half the width of each arm's confidence interval, shape [arms]."""
        n = self.observations
        # With few arms, n below 1 (a weak prior) would make the logarithm negative.
        return self.radius_scale * np.sqrt(np.log(4 * n.size * np.maximum(n, 1) ** 2 / self.delta) / n)

    def index(self) -> npt.NDArray[np.float64]:
        """Return each arm's rank in the turn, larger is earlier, shape [arms]; -inf for eliminated arms."""
        order = np.lexsort((self._values, -self._pulls))  # by fewest plays, then by value, the next to play last
        place = np.empty(order.size)
        place[order] = np.arange(order.size)
        return np.where(self._active, place, -np.inf)

    def update(self, indices: Sequence[int], reward: Reward) -> None:
        """Credit `reward` to each played arm, or one reward to each, and eliminate arms at the end of a turn.

        Raises:
            DataError: as for `IndexPolicy.update`.
        """
        super().update(indices, reward)
        turns = int(self._pulls[self._active].min())
        if turns > self._turns:
            self._turns = turns
            radius = self.radius()
            lower = np.sort((self._values - radius)[self._active])[-self.top_k]
            self._active &= self._values + radius >= lower
