"""UCB1-Tuned: confidence bounds that are narrower for arms with little variance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores
from longmab_pl.bandits.policy import Reward, check_play


class UCBTuned(IndexPolicy):
    """UCB1-Tuned (Auer, Cesa-Bianchi and Fischer 2002, section 4).

    Index: `value + sqrt(ln t / n * min(1/4, V))` with `V = variance + sqrt(2 ln t / n)`; n the observations
    (pseudo-observations included), t the round, the variance over rewards and pseudo-observations. 1/4 is the largest
    variance of a reward in [0, 1].

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms per round; if it exceeds the number of arms, all are played.
        prior_weight: number of observations that the initial score counts as.

    Raises:
        DataError: there are no arms, or a score is not finite.
        ConfigError: `top_k` < 1 or `prior_weight` <= 0.
    """

    def __init__(self, initial_scores: Scores, top_k: int, prior_weight: float = 1.0) -> None:
        super().__init__(initial_scores, top_k, prior_weight)
        self._deviations = np.zeros(self._values.size)
        """Weighted sum of squared deviations from the mean, shape [arms] (Welford's recurrence)."""

    def index(self) -> npt.NDArray[np.float64]:
        """Return the upper bounds of round `self.round`, shape [arms]."""
        rate = np.log(self.round) / self.observations
        variance = self._deviations / self.observations + np.sqrt(2 * rate)
        return self._values + np.sqrt(rate * np.minimum(0.25, variance))

    def update(self, indices: Sequence[int], reward: Reward) -> None:
        """Credit `reward` to each played arm, or one reward to each; errors as for `IndexPolicy.update`."""
        played, rewards = check_play(indices, reward, self._values.size)
        before = self._values.copy()
        super().update(indices, reward)
        self._deviations[played] += (rewards - before[played]) * (rewards - self._values[played])
