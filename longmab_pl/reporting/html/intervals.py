"""Running means with their 95% intervals, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

Z = 1.959963984540054
"""Quantile of the standard normal distribution for 95% intervals."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval (None: unknown) and the number of values."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0


class RunningMean:
    """The mean of values and its interval by the central limit theorem.

    Example:
        >>> mean = RunningMean([0.0, 1.0, 1.0, 0.0])
        >>> mean.estimate().value
        0.5
    """

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.n = 0
        self._mean = self._squares = 0.0
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        """Add one value (Welford 1962)."""
        self.n += 1
        before = value - self._mean
        self._mean += before / self.n
        self._squares += before * (value - self._mean)

    def estimate(self) -> Estimate | None:
        """Return the mean with its interval, which one value does not have; None without values."""
        if not self.n:
            return None
        if self.n == 1:
            return Estimate(self._mean, n=1)
        half = Z * math.sqrt(max(self._squares, 0.0) / (self.n - 1) / self.n)
        return Estimate(self._mean, self._mean - half, self._mean + half, self.n)


def share(successes: float, trials: int) -> Estimate | None:
    """Return a share with its Wilson interval (Wilson 1927), in 0..1; None without trials.

    Args:
        successes: number of successes; a mean share times `trials` need not be whole.
        trials: number of trials.

    Example:
        >>> found = share(5, 10)
        >>> round(found.low, 3), round(found.high, 3)
        (0.237, 0.763)
    """
    if trials < 1:
        return None
    p = min(max(successes / trials, 0.0), 1.0)
    scale = 1 + Z**2 / trials
    center = (p + Z**2 / (2 * trials)) / scale
    half = Z / scale * math.sqrt(p * (1 - p) / trials + Z**2 / (4 * trials**2))
    return Estimate(p, max(center - half, 0.0), min(center + half, 1.0), trials)
