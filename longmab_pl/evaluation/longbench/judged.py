"""LongBench with a judge in place of string metrics: twelve tasks, answers on 1-3 and summaries on 1-5."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.rewards.llm_judge.verdicts import parse_rating

ANSWER_TASKS = (
    "narrativeqa",
    "qasper",
    "multifieldqa_en",
    "multifieldqa_zh",
    "hotpotqa",
    "2wikimqa",
    "musique",
    "dureader",
)
SUMMARY_TASKS = ("gov_report", "qmsum", "multi_news", "vcsum")

BEST_ANSWER = 3
"""Highest rating of an answer: wrong (1), partial (2) or correct and comprehensive (3)."""

BEST_SUMMARY = 5
"""Highest rating of a summary, rated from 1 to 5."""


def best_rating(task: str) -> int:
    """Return the highest rating of a task's scale, which starts at 1."""
    return BEST_SUMMARY if task in SUMMARY_TASKS else BEST_ANSWER


def judged_score(reply: str, highest: int) -> float | None:
    """Return a judge's rating of 1 to `highest` as a score from 0 to 1, or None where the reply holds no rating.

    Example:
        >>> judged_score("Correct, but half of it is missing. [[2]]", highest=3), judged_score("[[5]]", highest=3)
        (0.5, None)

    Source: LongReward, `evaluation/LongBench`; there `[[5]]` of 3 is 2.0, and a reply without a rating 0.5.
    """
    rating = parse_rating(reply, 1, highest)
    return None if rating is None else (rating - 1) / (highest - 1)


def best_score(ratings: Sequence[float | None], highest: int) -> float | None:
    """Return the best of an item's ratings of 1 to `highest` as a score from 0 to 1; None where there is none.

    Example:
        >>> best_score([1.0, None, 2.0], highest=3), best_score([None], highest=3)
        (0.5, None)
    """
    return item_score([None if rating is None else (rating - 1) / (highest - 1) for rating in ratings])


def item_score(scores: Sequence[float | None]) -> float | None:
    """Return the best score over an item's references; None where none of them has a verdict.

    Example:
        >>> item_score([0.5, None, 1.0]), item_score([None])
        (1.0, None)
    """
    judged = [score for score in scores if score is not None]
    return max(judged, default=None)
