"""Rules that choose the compared answers of a record by their scores."""

from __future__ import annotations

from collections.abc import Sequence


def best_and_worst(scores: Sequence[float], fewest: int = 5, margin: float = 0.0) -> tuple[int, int] | None:
    """Return the indices of the best and the worst answer, or None if there is no pair.

    Args:
        scores: one score per answer.
        fewest: minimum number of answers.
        margin: the best must exceed the worst by more than this; equal answers are not a pair.

    Returns:
        Indices of the first of the best and the last of the worst.

    Example:
        >>> best_and_worst([5.0, 9.0, 1.0, 9.0, 1.0]), best_and_worst([5.0] * 5)
        ((1, 4), None)

    Source: LongReward, `batch_inference/3_get_pairs.py` (without a margin: equal totals make a pair there).
    """
    if len(scores) < max(fewest, 2):
        return None
    best = max(range(len(scores)), key=lambda i: (scores[i], -i))
    worst = min(range(len(scores)), key=lambda i: (scores[i], -i))
    return (best, worst) if scores[best] - scores[worst] > margin else None


def best_and_lower_half(scores: Sequence[float]) -> tuple[int, list[int]] | None:
    """Return the best answer's index and the indices of the lower half by score, from which one is drawn.

    Args:
        scores: one score per answer.

    Returns:
        Index of the first of the best, and indices of the lowest half (rounded down) in the order of the answers; None
        for fewer than two answers.

    Example:
        >>> best_and_lower_half([0.3, 0.1, 0.9, 0.2, 0.5])
        (2, [1, 3])

    Source: SeaLong, section 3.2; the program fails on a single answer.
    """
    if len(scores) < 2:
        return None
    best = max(range(len(scores)), key=lambda i: (scores[i], -i))
    ascending = sorted(range(len(scores)), key=lambda i: scores[i])
    return best, sorted(ascending[: len(scores) // 2])
