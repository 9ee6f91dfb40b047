"""The baseline policy: chunks at random."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores
from longmab_pl.checks import not_negative


class Uniform(IndexPolicy):
    """Plays `top_k` different arms at random each round, whatever was learned; values are kept for the report.

    Args:
        initial_scores: shape [arms], finite; the initial values.
        top_k: arms per round; if it exceeds the number of arms, all are played.
        seed: seed of the random choices.

    Raises:
        DataError: there are no arms, or a score is not finite.
        ConfigError: `top_k` < 1, or the seed is negative.
    """

    def __init__(self, initial_scores: Scores, top_k: int, seed: int = 0) -> None:
        super().__init__(initial_scores, top_k, prior_weight=1.0)
        not_negative("seed", seed)
        self._random = np.random.default_rng(seed)

    def index(self) -> npt.NDArray[np.float64]:
        """Return a random number in [0, 1) per arm, shape [arms]."""
        return self._random.random(self._values.size)
