"""Parsing of judge replies: scores, support labels, statements and notes. An ambiguous reply gives no verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_SCORE = 10.0
"""Highest score of a LongReward dimension."""

NO_STATEMENTS = "<no-statements/>"
"""Judge's reply for an answer without factual statements."""

NO_NOTES = "No relevant information"
"""Judge's reply for a chunk without information on the question."""

SUPPORT: Mapping[str, float] = {
    "fully supported": 1.0,
    "fully": 1.0,
    "partially supported": 0.5,
    "partially": 0.5,
    "not supported": 0.0,
    "unsupported": 0.0,
    "no support": 0.0,
    "none": 0.0,
    "contradicted": 0.0,
}
"""Support label in lower case -> value."""

_SCORE = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
_LABEL = re.compile(r"\[\[([A-Za-z /]+)\]\]")
_GROUP = re.compile(r"\[\[([^\[\]]*)\]\]")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_STATEMENT = re.compile(r"<statement>(.*?)</statement>", re.DOTALL)


def parse_score(reply: str, highest: float = MAX_SCORE) -> float | None:
    """Return the score in a reply's double brackets, or None, in which case the question is repeated.

    The score is digits, with or without decimals, directly inside the brackets: `[[ 8 ]]`, `[[8/10]]` and `[[-3]]` are
    not scores. Several scores count only if they are equal, so that a `[[10]]` quoted from the answer is never taken
    for the verdict. A score above `highest` is not clamped, but gives None.

    Args:
        reply: the judge's whole reply.
        highest: highest score of the scale, which starts at 0.

    Example:
        >>> parse_score("Clear and on topic. Rating: [[7]]"), parse_score("[[2]], not the [[10]] it asks for")
        (7.0, None)

    Source: LongReward, `long_reward/auto_scorer.py` (which takes the last brackets, without a limit).
    """
    scores = {float(found) for found in _SCORE.findall(reply)}
    score = next(iter(scores), None) if len(scores) == 1 else None
    return score if score is not None and score <= highest else None


def parse_rating(reply: str, lowest: float, highest: float, *, integer: bool = True) -> float | None:
    """Return the rating in a reply's double brackets, or None.

    The brackets may contain text and spaces, but only one number: `[[rating: 4]]` is 4, `[[2/3]]` is no rating.
    Brackets without a number do not count; brackets with different numbers give no verdict.

    Args:
        reply: the judge's whole reply.
        lowest: first point of the scale.
        highest: last point of the scale.
        integer: whether only whole numbers are accepted ("2.0" is, "2.5" is not).

    Example:
        >>> parse_rating("Rating: [[ 2 ]]", 1, 3), parse_rating("[[2.5]]", 1, 3), parse_rating("[[5]]", 1, 3)
        (2.0, None, None)

    Source: LongReward, `evaluation/LongBench` and `evaluation/LongBench_Chat`.
    """
    groups = [numbers for group in _GROUP.findall(reply) if (numbers := _NUMBER.findall(group))]
    if any(len(numbers) > 1 for numbers in groups):
        return None
    ratings = {float(numbers[0]) for numbers in groups}
    if len(ratings) != 1:
        return None
    rating = ratings.pop()
    if not lowest <= rating <= highest or (integer and rating != int(rating)):
        return None
    return rating


def parse_support(reply: str) -> float | None:
    """Return how far a statement is supported (1 fully, 0.5 partially, 0 not), or None.

    The label in double brackets must be one of `SUPPORT`, in any case: "[[Not fully supported]]", "[[mostly]]" and
    several labels of different values give no verdict.

    Example:
        >>> parse_support("[[Partially supported]]"), parse_support("[[Not fully supported]]")
        (0.5, None)

    Source: LongReward, section 3.3 (the program looks for "fully" and "partially" anywhere in the last label).
    """
    labels = [" ".join(label.lower().split()) for label in _LABEL.findall(reply)]
    if not labels or any(label not in SUPPORT for label in labels):
        return None
    values = {SUPPORT[label] for label in labels}
    return values.pop() if len(values) == 1 else None


def parse_statements(reply: str) -> list[str] | None:
    """Return the marked statements in a reply, stripped, in order and with duplicates; None if there are none.

    A reply that consists of `NO_STATEMENTS` gives an empty list.

    Example:
        >>> parse_statements("<statement>Lyon is in France.</statement>"), parse_statements("1. Lyon is in France.")
        (['Lyon is in France.'], None)

    Source: LongReward, `auto_scorer.py`.
    """
    if reply.strip() == NO_STATEMENTS:
        return []
    statements = [text for found in _STATEMENT.findall(reply) if (text := found.strip())]
    return statements or None


def parse_notes(reply: str) -> str | None:
    """Return the notes on a chunk unchanged, `NO_NOTES` if that is the whole reply, or None for a blank reply.

    Example:
        >>> parse_notes("no relevant information."), parse_notes("1. Born in Lyon.")
        ('No relevant information', '1. Born in Lyon.')

    Source: LongReward, `auto_scorer.py` (where these words anywhere in a reply replace all of it).
    """
    words = " ".join(reply.split())
    if not words:
        return None
    return NO_NOTES if words.rstrip(".").lower() == NO_NOTES.lower() else reply
