"""The protocol for bandit policies over the chunks of one context: arrays in, arm indices out, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from longmab_pl.errors import ConfigError, DataError

Reward = float | Sequence[float] | npt.NDArray[np.floating]
"""One reward for all played arms, or one for each in the same order."""


@runtime_checkable
class BanditPolicy(Protocol):
    """Plays `top_k` arms a round and learns from one reward for all of them, or from one for each.

    Deterministic: the same initial scores, seed and sequence of calls give the same selections on every machine.
    """

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Estimated reward of each arm, shape [arms]; a copy."""

    @property
    def pulls(self) -> npt.NDArray[np.int64]:
        """Number of updates of each arm, shape [arms]; a copy."""

    def select(self) -> list[int]:
        """Start a round and return the indices of the arms to play, ascending (document order)."""

    def update(self, indices: Sequence[int], reward: Reward) -> None:
        """Credit `reward` to every arm in `indices`, or one reward to each if there are as many (`credit`)."""


def check_arms(initial_scores: Sequence[float] | npt.NDArray[np.floating], top_k: int) -> npt.NDArray[np.float64]:
    """Return a copy of the initial scores, checked, as float64 [arms].

    Raises:
        DataError: there are no arms, the array is not one-dimensional, or a score is not a finite number.
        ConfigError: `top_k` is not an integer of at least 1.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1:
        raise ConfigError(f"top_k is {top_k!r}; a bandit plays at least 1 arm a round, give an integer >= 1")
    try:
        scores = np.array(initial_scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"initial_scores are not numbers: {error}; give one similarity score per chunk") from error
    if scores.ndim != 1:
        raise DataError(f"initial_scores have shape {scores.shape}; give one score per chunk, shape [arms]")
    if scores.size == 0:
        raise DataError("initial_scores are empty: a context without chunks has no arms; skip the record")
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise DataError(
            f"initial_scores[{bad[0]}] is {scores[bad[0]]} ({bad.size} of {scores.size} are not finite); "
            "look at the embedder: an empty chunk or a half-precision overflow gives such similarities"
        )
    return scores


def check_play(
    indices: Sequence[int], reward: Reward, arms: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the played arms as an index array and the reward of each, checked, both of shape [played].

    Raises:
        DataError: an index is not an arm or occurs twice, there is no index, a reward is not finite, or the number of
            rewards differs from the number of arms.
    """
    played = np.asarray(indices)
    if played.ndim != 1 or played.size == 0 or not np.issubdtype(played.dtype, np.integer):
        raise DataError(f"played arms are {indices!r}; give a non-empty list of integer indices")
    if played.min() < 0 or played.max() >= arms:
        raise DataError(f"played arms are {played.tolist()} but the arms are 0..{arms - 1}")
    if np.unique(played).size != played.size:
        raise DataError(f"played arms are {played.tolist()}: an arm is played at most once a round")
    try:
        rewards = np.array(reward, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the reward is {reward!r}; it must be a number, or a number for each arm") from error
    if rewards.ndim and rewards.shape != played.shape:
        raise DataError(f"{rewards.size} rewards for {played.size} played arms; give one for all or one for each")
    if not np.isfinite(rewards).all():
        raise DataError(f"the reward is {reward}; it must be a finite number")
    return played.astype(np.int64), np.broadcast_to(rewards, played.shape)
