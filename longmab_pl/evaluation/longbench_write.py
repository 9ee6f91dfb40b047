"""LongBench-Write: whether long answers keep their required length (S_l), and how good they are (S_q)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from longmab_pl.rewards.llm_judge.ratings import Ratings, parse_ratings

DIMENSIONS = ("Relevance", "Accuracy", "Coherence", "Clarity", "Breadth and Depth", "Reading Experience")
"""Dimensions that the judge rates from 1 to 5."""

BUCKETS = ((0, 500), (500, 2000), (2000, 4000), (4000, 20_000))
"""Ranges of required lengths in words that are reported together; the upper end is exclusive."""


def parse_quality(reply: str) -> Ratings | None:
    """Return the six ratings in a judge's reply, or None where it does not hold all of them once.

    Source: LongWriter, `evaluation/eval_quality.py`.
    """
    return parse_ratings(reply, DIMENSIONS)


def quality_scores(ratings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each dimension on a scale of 0 to 100, and S_q, their mean, as `total`.

    Args:
        ratings: 1 to 5 by dimension, one mapping a judged answer. A dimension that an answer lacks is left out of that
            dimension's mean, and one that all lack out of the result.

    Example:
        >>> quality_scores([{"Clarity": 5.0}, {"Clarity": 4.0}])
        {'Clarity': 87.5, 'total': 87.5}

    Source: LongWriter, `evaluation/eval_quality.py` (which counts a missing dimension as 3).
    """
    scores = {}
    for name in DIMENSIONS:
        given = [rating[name] for rating in ratings if name in rating]
        if given:
            scores[name] = (sum(given) / len(given) - 1) * 25
    return scores | {"total": sum(scores.values()) / len(scores)} if scores else {}
