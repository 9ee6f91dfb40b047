"""A player of the simulations: the whole context, every round (in rollouts it is `BestOfN`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores


class FullContext(IndexPolicy):
    """Plays all arms in every round: ordinary best-of-n sampling over the whole context.

    The engine must have room for all chunks (`engine.max_model_len`), whatever `top_k` says. All arms share every
    reward, so the values only keep the order of the initial scores.

    Args:
        initial_scores: shape [arms], finite.
        top_k: checked, as for the other policies, and not used.
        prior_weight: how many observations the initial score is worth in the reported values.

    Raises:
        DataError: no arms or a score that is not finite.
        ConfigError: `top_k` < 1 or `prior_weight` <= 0.
    """

    def __init__(self, initial_scores: Scores, top_k: int, prior_weight: float = 1.0) -> None:
        super().__init__(initial_scores, top_k, prior_weight)
        self.top_k = self._values.size

    def index(self) -> npt.NDArray[np.float64]:
        """The values, shape [arms]."""
        return self._values
