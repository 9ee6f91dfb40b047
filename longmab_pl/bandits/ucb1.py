"""UCB1 over chunks, as in the LongMab-PO authors' program."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.index_policy import IndexPolicy, Scores

_EPSILON = 1e-6


class UCB1(IndexPolicy):
    """Upper confidence bounds on arms whose values start at similarity scores (LongMab-PO, section 3.2).

    In round t = 1, 2, ... an arm's index is `value + sqrt(2 ln t / (pulls + 1e-6))`, and the `top_k` largest are
    played: round 1 follows the initial scores alone, from round 2 on unplayed arms come first. A played arm's
    value moves by `(reward - value) / (pulls + 1)`, `pulls` counting this play, so the initial score weighs as one
    observation.

    Of equal indices, the later arm in the document is played. The original leaves ties to `numpy.argpartition`, whose
    result differs between CPUs with and without AVX-512; a resumed run must not differ.

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms per round; if it exceeds the number of arms, all are played.

    Raises:
        DataError: there are no arms, or a score is not finite.
        ConfigError: `top_k` < 1.
    """

    def __init__(self, initial_scores: Scores, top_k: int) -> None:
        super().__init__(initial_scores, top_k, prior_weight=1.0)

    def index(self) -> npt.NDArray[np.float64]:
        """Return the upper bounds of round `self.round`, shape [arms]."""
        bonus: npt.NDArray[np.float64] = np.sqrt(2 * np.log(self.round) / (self._pulls + _EPSILON))
        return self._values + bonus
