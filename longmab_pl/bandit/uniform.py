"""The baseline policy: chunks at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from longmab_pl.bandit.policy import check_arms, check_play
from longmab_pl.errors import ConfigError


class Uniform:
    """Plays `top_k` different arms at random each round, whatever was learnt; values are kept for the report.

    Args:
        initial_scores: shape [arms], finite; where the values start.
        top_k: arms a round; more than there are arms plays all of them.
        seed: of the random choices.

    Raises:
        DataError: no arms or a score that is not finite.
        ConfigError: `top_k` < 1 or a negative seed.
    """

    def __init__(self, initial_scores: Sequence[float] | npt.NDArray[np.floating], top_k: int, seed: int = 0) -> None:
        self._values = check_arms(initial_scores, top_k)
        self._pulls = np.zeros(self._values.size, dtype=np.int64)
        if seed < 0:
            raise ConfigError(f"seed is {seed}; give an integer >= 0")
        self._random = np.random.default_rng(seed)
        self.top_k = min(int(top_k), self._values.size)
        self.round = 0
        """Rounds started so far."""

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Mean reward of each arm with its initial score as one observation, shape [arms]; a copy."""
        return self._values.copy()

    @property
    def pulls(self) -> npt.NDArray[np.int64]:
        """Plays of each arm, shape [arms]; a copy."""
        return self._pulls.copy()

    def select(self) -> list[int]:
        """Start the next round: the indices of the arms to play, ascending."""
        self.round += 1
        return sorted(self._random.choice(self._values.size, size=self.top_k, replace=False).tolist())

    def update(self, indices: Sequence[int], reward: float) -> None:
        """Credit `reward` to each played arm.

        Raises:
            DataError: an index out of range or given twice, or a reward that is not finite.
        """
        played = check_play(indices, reward, self._values.size)
        self._pulls[played] += 1
        self._values[played] += (reward - self._values[played]) / (self._pulls[played] + 1)
