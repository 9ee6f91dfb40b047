"""Bootstrap confidence intervals and the paired bootstrap test (Efron & Tibshirani 1993; Koehn 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_DRAWS_AT_ONCE = 4_000_000  # bounds the index array to 32 MB


@dataclass(frozen=True)
class PairedTest:
    """The difference of two evaluations on the same records.

    Args:
        difference: mean of second minus first.
        low, high: bootstrap confidence interval of the difference.
        p_value: two-sided; how often a mean at least this far from 0 arises when the true difference is 0.
        n: records that both answered.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int


def resampled_means(values: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Means of `resamples` bootstrap samples of `values` [n] -> [resamples]."""
    n = len(values)
    at_once = max(1, _DRAWS_AT_ONCE // n)
    parts = []
    for start in range(0, resamples, at_once):
        drawn = generator.integers(0, n, size=(min(at_once, resamples - start), n))  # [part, n]
        parts.append(values[drawn].mean(axis=1))
    return np.concatenate(parts)


def bootstrap_interval(
    groups: Sequence[Sequence[float]], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean of the groups' means; every group is resampled on its own.

    Args:
        groups: per-record scores, one non-empty group per task. One group gives the interval of a task's score,
            several give that of the macro average.
        confidence: coverage in (0, 1).
        resamples: number of bootstrap samples.
        seed: the same seed gives the same interval.
    """
    generator = np.random.default_rng(seed)
    means = np.mean([resampled_means(np.asarray(g, float), resamples, generator) for g in groups], axis=0)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def paired_bootstrap(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedTest:
    """Is the second evaluation better than the first? Differences of the same records are resampled together.

    Args:
        first, second: per-record scores in the same order, one group per task (`bootstrap_interval`).

    Returns:
        The test in the units of the scores. The p-value counts resamples of the differences moved to mean 0 and has
        the usual +1 correction, so it is never 0.
    """
    generator = np.random.default_rng(seed)
    differences = [np.asarray(b, float) - np.asarray(a, float) for a, b in zip(first, second, strict=True)]
    observed = float(np.mean([d.mean() for d in differences]))
    means: Any = np.mean([resampled_means(d, resamples, generator) for d in differences], axis=0)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    # Rounding of sums must not decide whether a resample is "as far" as the observed mean.
    extreme = int(np.sum(np.abs(means - observed) >= abs(observed) - 1e-12))
    p_value = (extreme + 1) / (resamples + 1)
    return PairedTest(observed, float(low), float(high), p_value, sum(map(len, differences)))
