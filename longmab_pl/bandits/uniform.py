"""The baseline policy: chunks at random."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores
from longmab_pl.checks import not_negative


class Uniform(IndexPolicy):
    """Plays `top_k` different arms at random each round, whatever was learned; values are kept for the report.

    Args:
        initial_scores: shape [arms], finite; where the values start.
        top_k: arms a round; more than there are arms plays all of them.
        seed: of the random choices.

    Raises:
        DataError: no arms or a score that is not finite.
        ConfigError: `top_k` < 1 or a negative seed.
    """

    def __init__(self, initial_scores: Scores, top_k: int, seed: int = 0) -> None:
        super().__init__(initial_scores, top_k, prior_weight=1.0)
        not_negative("seed", seed)
        self._random = np.random.default_rng(seed)

    def index(self) -> npt.NDArray[np.float64]:
        return self._random.random(self._values.size)
