"""UCB1 over chunks, as the LongMab-PO authors run it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from longmab_pl.bandit.policy import check_arms, check_play

_EPSILON = 1e-6


class UCB1:
    """Upper confidence bounds on arms whose values start at similarity scores (LongMab-PO, section 3.2).

    In round t = 1, 2, ... an arm's index is `value + sqrt(2 ln t / (pulls + 1e-6))`, and the `top_k` largest are
    played: round 1 follows the initial scores alone, from round 2 on unplayed arms come first. A played arm's
    value moves by `(reward - value) / (pulls + 1)`, `pulls` counting this play, so the initial score weighs as one
    observation.

    Equal indices: the arm that stands later in the document is played. The original leaves ties to
    `numpy.argpartition`, which answers differently on CPUs with and without AVX-512; a resumed run must not.

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms a round; more than there are arms plays all of them.

    Raises:
        DataError: no arms or a score that is not finite.
        ConfigError: `top_k` < 1.
    """

    def __init__(self, initial_scores: Sequence[float] | npt.NDArray[np.floating], top_k: int) -> None:
        self._values = check_arms(initial_scores, top_k)
        self._pulls = np.zeros(self._values.size, dtype=np.int64)
        self.top_k = min(int(top_k), self._values.size)
        self.round = 0
        """Rounds started so far: the t of the formula after a `select`."""

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Value of each arm, shape [arms]; a copy."""
        return self._values.copy()

    @property
    def pulls(self) -> npt.NDArray[np.int64]:
        """Plays of each arm, shape [arms]; a copy."""
        return self._pulls.copy()

    def select(self) -> list[int]:
        """Start the next round: the indices of the arms to play, ascending."""
        self.round += 1
        bonus = np.sqrt(2 * np.log(self.round) / (self._pulls + _EPSILON))
        ranked = np.argsort(self._values + bonus, kind="stable")
        return sorted(ranked[-self.top_k :].tolist())

    def update(self, indices: Sequence[int], reward: float) -> None:
        """Credit `reward` to each played arm.

        Raises:
            DataError: an index out of range or given twice, or a reward that is not finite.
        """
        played = check_play(indices, reward, self._values.size)
        self._pulls[played] += 1
        rate = 1.0 / (self._pulls[played] + 1)
        self._values[played] += rate * (reward - self._values[played])
