"""RULER's scores: references found in the answer, curves by length, and the effective length."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

THRESHOLD = 85.6
"""Score in percent that a model must exceed at an effective length: Llama-2-7B-chat's at 4k tokens (section 4)."""

_CONTROL = re.compile(r"[\x00-\x1f]")


def clean(prediction: str) -> str:
    """Return a prediction as it is scored: stripped, control characters as line breaks."""
    return _CONTROL.sub("\n", prediction.strip()).strip()


def all_found(prediction: str, references: Sequence[str]) -> float:
    """Return the share of references that occur in a prediction, whatever their case."""
    text = prediction.lower()
    return sum(reference.lower() in text for reference in references) / len(references)


def any_found(prediction: str, references: Sequence[str]) -> float:
    """Return 1 if a reference occurs in a prediction, whatever its case."""
    text = prediction.lower()
    return max(float(reference.lower() in text) for reference in references)


def mean_score(scores: Sequence[float]) -> float:
    """Return the mean in percent, with two decimals."""
    return round(sum(scores) / len(scores) * 100, 2)


def effective_length(by_length: Mapping[int, float], threshold: float = THRESHOLD) -> int | None:
    """Return the largest length whose score exceeds the threshold, or None ("<4K" in the paper's table).

    Args:
        by_length: mean score of the tasks in percent, by length in tokens.
        threshold: threshold in percent.
    """
    return max((length for length, score in by_length.items() if score > threshold), default=None)


def weighted_averages(by_length: Mapping[int, float]) -> tuple[float, float]:
    """Return the means with weights that increase, and that decrease, linearly with the rank of the length."""
    scores = [by_length[length] for length in sorted(by_length)]
    ranks = range(1, len(scores) + 1)
    increasing = sum(rank * score for rank, score in zip(ranks, scores, strict=True)) / sum(ranks)
    decreasing = sum(rank * score for rank, score in zip(reversed(ranks), scores, strict=True)) / sum(ranks)
    return increasing, decreasing
