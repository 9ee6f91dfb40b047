"""MOSS: a bonus that is 0 for arms with at least an equal share of the plays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores
from longmab_pl.checks import positive


class MOSS(IndexPolicy):
    """MOSS-anytime (Degenne and Perchet 2016, after Audibert and Bubeck 2009), which needs no horizon.

    Index: `value + sqrt((1 + alpha) / 2 * max(0, ln(t / (K n))) / n)`; n the observations (pseudo-observations
    included), K the arms, t the plays of all arms so far. While t <= K, as in contexts with more chunks than the
    rollout plays, there is no bonus and the policy is greedy.

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms per round; if it exceeds the number of arms, all are played.
        alpha: parameter of the bonus, > 0; 1.35 is the smallest for which the paper proves its bound.
        prior_weight: number of observations that the initial score counts as.

    Raises:
        DataError: there are no arms, or a score is not finite.
        ConfigError: `top_k` < 1, `alpha` or `prior_weight` <= 0.
    """

    def __init__(self, initial_scores: Scores, top_k: int, alpha: float = 1.35, prior_weight: float = 1.0) -> None:
        super().__init__(initial_scores, top_k, prior_weight)
        positive("bandit option alpha", alpha)
        self.alpha = float(alpha)

    def index(self) -> npt.NDArray[np.float64]:
        """Return the upper bounds after the plays so far, shape [arms]."""
        n = self.observations
        share = max(int(self._pulls.sum()), 1) / (self._values.size * n)
        return self._values + np.sqrt((1 + self.alpha) / 2 * np.maximum(0.0, np.log(share)) / n)
