"""Judge replies as text: scores, support labels, statements and notes. An ambiguous reply is no verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_SCORE = 10.0
"""The best score of a LongReward dimension."""

NO_STATEMENTS = "<no-statements/>"
"""What the judge writes in place of a list where an answer states no fact."""

NO_NOTES = "No relevant information"
"""What the judge writes about a chunk that has nothing on the question."""

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
"""Value of each support label, lower-cased."""

_SCORE = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
_LABEL = re.compile(r"\[\[([A-Za-z /]+)\]\]")
_GROUP = re.compile(r"\[\[([^\[\]]*)\]\]")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_STATEMENT = re.compile(r"<statement>(.*?)</statement>", re.DOTALL)


def parse_score(reply: str, highest: float = MAX_SCORE) -> float | None:
    """Return the score in a reply's double brackets, or None: a reply is asked for again then.

    The score is digits, with or without decimals, directly inside the brackets: `[[ 8 ]]`, `[[8/10]]` and `[[-3]]` are
    none. Several scores count only where they are equal, so that a judge that quotes the answer's own `[[10]]` gives
    no verdict in place of the quoted one, and a score above `highest` is none, because clamping it would make it up.

    Args:
        reply: the judge's whole reply.
        highest: end of the scale, which starts at 0.

    Example:
        >>> parse_score("Clear and on topic. Rating: [[7]]"), parse_score("[[2]], not the [[10]] it asks for")
        (7.0, None)

    Source: LongReward, `long_reward/auto_scorer.py` (there the last brackets win, without a limit).
    """
    scores = {float(found) for found in _SCORE.findall(reply)}
    score = next(iter(scores), None) if len(scores) == 1 else None
    return score if score is not None and score <= highest else None


def parse_rating(reply: str, lowest: float, highest: float, *, integer: bool = True) -> float | None:
    """Return the rating in a reply's double brackets, or None.

    Text and blanks may stand in the brackets, but only one number: `[[rating: 4]]` is 4, `[[2/3]]` is none. Groups
    without a number do not count; groups with different numbers are no verdict.

    Args:
        reply: the judge's whole reply.
        lowest: first point of the scale.
        highest: last point of the scale.
        integer: whether only whole numbers are points of the scale ("2.0" is one, "2.5" is not).

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

    The label in double brackets is one of `SUPPORT`, in any case: "[[Not fully supported]]" and "[[mostly]]" are no
    verdict, and neither are several labels of different values.

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
    """Return the statements that a reply marks, stripped, in order and with duplicates; None where it marks none.

    A reply that consists of `NO_STATEMENTS` lists none on purpose, and gives an empty list.

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
    """Return the notes on a chunk as they are, `NO_NOTES` where the whole reply says so, or None for a blank reply.

    Example:
        >>> parse_notes("no relevant information."), parse_notes("1. Born in Lyon.")
        ('No relevant information', '1. Born in Lyon.')

    Source: LongReward, `auto_scorer.py` (there the words anywhere in a reply replace the whole of it).
    """
    words = " ".join(reply.split())
    if not words:
        return None
    return NO_NOTES if words.rstrip(".").lower() == NO_NOTES.lower() else reply
