"""Confidence intervals and paired tests of scores, by scipy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DRAWS_AT_ONCE = 4_000_000
"""Number of resampled values in memory at once (32 MB)."""


@dataclass(frozen=True)
class PairedTest:
    """The difference of two evaluations on the same records.

    Args:
        difference: mean of second minus first.
        low, high: bootstrap confidence interval of the difference.
        p_value: two-sided, of the permutation test: twice the smaller share of exchanges of first and second within
            records whose mean difference is at least (at most) the observed one; at most 1.
        n: records that both answered.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int


def bootstrap_interval(
    groups: Sequence[Sequence[float]], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of the groups' means (Efron & Tibshirani 1993).

    Every group is resampled on its own.

    Args:
        groups: per-record scores, one non-empty group per task. One group gives the interval of a task's score,
            several give that of the macro average.
        confidence: coverage in (0, 1).
        resamples: number of bootstrap samples.
        seed: the same seed gives the same interval.

    Example:
        >>> low, high = bootstrap_interval([[0.0, 1.0, 1.0, 1.0]])
        >>> (low, high)
        (0.25, 1.0)
    """
    from scipy.stats import bootstrap

    # Resampling a single record gives that record; scipy asks for two, and two equal ones have the same means.
    samples = [np.asarray(group if len(group) > 1 else [*group, *group], float) for group in groups]
    found = bootstrap(
        samples,
        _mean_of_means,
        n_resamples=resamples,
        batch=max(1, _DRAWS_AT_ONCE // max(map(len, samples))),
        vectorized=True,
        paired=False,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def paired_test(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Test whether the second evaluation differs from the first, record by record.

    The null hypothesis is that first and second may be exchanged within each record (Fisher's paired permutation
    test). With few records all exchanges are counted, and the p-value is exact; otherwise `resamples` random ones are,
    with the usual +1 correction, so that it is never 0.

    Args:
        first, second: per-record scores in the same order, one group per task (`bootstrap_interval`).
        confidence: coverage of the interval of the difference, in (0, 1).
        resamples: number of permutations, and of bootstrap samples for the interval.
        seed: random seed of both.

    Returns:
        The test in the units of the scores.
    """
    from scipy.stats import permutation_test

    differences = [np.asarray(b, float) - np.asarray(a, float) for a, b in zip(first, second, strict=True)]
    # Mean of the groups' means as one weighted sum over all records [n].
    weights = np.concatenate([np.full(len(d), 1 / (len(d) * len(differences))) for d in differences])

    def statistic(one: Floats, other: Floats, axis: int) -> Floats:
        # Rounded, so that sums in another order do not decide whether an exchange is "as far" as what was observed.
        return np.asarray(np.round(((other - one) * weights).sum(axis=axis), 9))

    if len(weights) == 1:  # scipy asks for two: the one exchange that there is is as far as what was observed
        low, high = bootstrap_interval(differences, confidence=confidence)
        return PairedTest(float(differences[0][0]), low, high, 1.0, 1)
    found = permutation_test(
        (np.concatenate([np.asarray(g, float) for g in first]), np.concatenate([np.asarray(g, float) for g in second])),
        statistic,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _DRAWS_AT_ONCE // len(weights)),
        alternative="two-sided",
        rng=np.random.default_rng(seed),
    )
    low, high = bootstrap_interval(differences, confidence=confidence, resamples=resamples, seed=seed)
    difference = float(np.mean([d.mean() for d in differences]))
    return PairedTest(difference, low, high, float(found.pvalue), len(weights))


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927), in 0..1.

    Args:
        successes: number of successes among the trials.
        trials: at least 1.
        confidence: coverage in (0, 1).
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _mean_of_means(*samples: Floats, axis: int = -1) -> Floats:
    return np.asarray(np.mean([sample.mean(axis=axis) for sample in samples], axis=0))
