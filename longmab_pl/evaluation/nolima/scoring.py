"""NoLiMa's scores: exact metrics of a response, base scores and effective length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

Golds = Sequence[str]

BASE_LENGTHS = (250, 500, 1000)
"""Lengths in tokens whose best mean is the base score of a question and needle pair."""

EFFECTIVE = 0.85
"""Share of the base score that a length must reach to count as effective."""


def exact(response: str, golds: Golds) -> float:
    """Return 1 if the stripped response is an answer."""
    return float(response.strip() in golds)


def contains(response: str, golds: Golds) -> float:
    """Return 1 if an answer occurs in the response, case included."""
    return float(any(gold in response for gold in golds))


def last_line_exact(response: str, golds: Golds) -> float:
    """Return 1 if the last line of the stripped response is an answer."""
    return float(_last_line(response) in golds)


def last_line_contains(response: str, golds: Golds) -> float:
    """Return 1 if an answer occurs in the last line of the stripped response."""
    return contains(_last_line(response), golds)


METRICS: dict[str, Callable[[str, Golds], float]] = {
    "contains": contains,
    "EM": exact,
    "lastline_EM": last_line_exact,
    "lastline_contains": last_line_contains,
}
"""Metrics by their official names, the usual one first."""


def base_score(pairs: Mapping[str, Mapping[int, float]]) -> float:
    """Return the mean over pairs of their best mean at the base lengths.

    Args:
        pairs: name of a question and needle pair to length to mean score over books and depths.

    Raises:
        ValueError: a pair has none of the base lengths.
    """
    return fmean(max(by_length[n] for n in BASE_LENGTHS if n in by_length) for by_length in pairs.values())


def effective_length(by_length: Mapping[int, float], base: float) -> int | None:
    """Return the largest length whose score reaches 0.85 of the base score, or None."""
    return max((length for length, score in by_length.items() if score >= EFFECTIVE * base), default=None)


def _last_line(response: str) -> str:
    return response.strip().split("\n")[-1]
