"""Base class of the index policies: means that start at the initial scores, and a choice by largest index."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from longmab_pl.bandits.policy import Reward, check_arms, check_play
from longmab_pl.checks import positive
from longmab_pl.errors import DataError

Scores = Sequence[float] | npt.NDArray[np.floating]


class IndexPolicy(abc.ABC):
    """Plays the `top_k` arms with the largest index; subclasses define the index.

    An arm's value is the mean of its rewards and of `prior_weight` pseudo-observations of its initial score:
    `value = (prior_weight * score + sum of rewards) / (prior_weight + pulls)`. `observations`, the denominator,
    replaces the number of pulls in the papers' formulas. So an unplayed arm has a finite index, and it is not played
    only because it never was. Of equal indices the later arm is played, as in `UCB1`.

    With several plays per round, t in the papers is the round, because an arm is played at most once per round.

    Args:
        initial_scores: shape [arms], finite.
        top_k: arms per round; if it exceeds the number of arms, all are played.
        prior_weight: number of observations that the initial score counts as, > 0; 1 is the LongMab-PO authors'.

    Raises:
        DataError: there are no arms, or a score is not finite.
        ConfigError: `top_k` < 1, or `prior_weight` is not a positive number.
    """

    def __init__(self, initial_scores: Scores, top_k: int, prior_weight: float = 1.0) -> None:
        self._values = check_arms(initial_scores, top_k)
        positive("bandit option prior_weight", prior_weight)
        self._pulls = np.zeros(self._values.size, dtype=np.int64)
        self.prior_weight = float(prior_weight)
        self.top_k = min(int(top_k), self._values.size)
        self.round = 0
        """Rounds started so far: the t of the formulas after a `select`."""

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Estimated mean of each arm, in reward units, shape [arms]; a copy."""
        return self._values.copy()

    @property
    def pulls(self) -> npt.NDArray[np.int64]:
        """Number of plays of each arm, shape [arms]; a copy."""
        return self._pulls.copy()

    @property
    def observations(self) -> npt.NDArray[np.float64]:
        """Number of plays and pseudo-observations of each arm, shape [arms]."""
        return self._pulls.astype(np.float64) + self.prior_weight

    @abc.abstractmethod
    def index(self) -> npt.NDArray[np.float64]:
        """Return the index of each arm in round `self.round`, shape [arms]."""

    def select(self) -> list[int]:
        """Start the next round and return the indices of the arms to play, ascending."""
        self.round += 1
        return largest(self.index(), self.top_k)

    def update(self, indices: Sequence[int], reward: Reward) -> None:
        """Credit `reward` to each played arm, or one reward to each.

        Raises:
            DataError: an index is out of range or given twice, a reward is not finite, or their number is wrong.
        """
        played, rewards = check_play(indices, reward, self._values.size)
        self._pulls[played] += 1
        rate = 1.0 / self.observations[played]
        self._values[played] += rate * (rewards - self._values[played])


def largest(index: npt.NDArray[np.float64], top_k: int) -> list[int]:
    """Return the positions of the `top_k` largest entries, ascending; of equal ones the later."""
    return sorted(np.argsort(index, kind="stable")[-top_k:].tolist())


def check_unit_reward(rewards: npt.NDArray[np.float64], policy: str) -> None:
    """Raise DataError unless all rewards, of any shape, are in [0, 1]."""
    outside = rewards[(rewards < 0) | (rewards > 1)]
    if outside.size:
        raise DataError(f"the reward is {outside[0]}, but {policy} is for rewards in [0, 1]; rescale the reward")
