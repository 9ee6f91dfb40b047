"""The seven principles by which LongDPO rates a block, and the ratings in a judge's reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longmab_pl.rewards.llm_judge.ratings import Ratings, only_object, parse_ratings, plain_name, ratings_in

PRINCIPLES = tuple(f"principle{i}" for i in range(1, 8))
"""Criteria for a block: free of factual errors; meets purpose and needs; harmless; sound in form and logic; varied and
comprehensive; pleasant to read; insightful."""


def parse_principles(reply: str) -> Ratings | None:
    """Return the seven ratings in a judge's reply, or None.

    Example:
        >>> parse_principles("{" + ", ".join(f'"Principle{i}": 4' for i in range(1, 8)) + "}").mean
        4.0

    Source: LongDPO, `reason/inference/value.py` (which reads the requested vectors as 2.5 each) and `refine.py`.
    """
    return parse_ratings(reply, PRINCIPLES)


def parse_principles_of_all(reply: str, names: Sequence[str]) -> list[dict[str, float]] | None:
    """Return the seven ratings of each candidate, or None unless the reply's only verdict rates all of them.

    Args:
        reply: the judge's whole reply.
        names: names of the candidates.

    Example:
        >>> rated = "{" + ", ".join(f'"principle{i}": 4' for i in range(1, 8)) + "}"
        >>> parse_principles_of_all(f'{{"a": {rated}}}', ["a"])[0]["principle7"]
        4.0
    """
    found = only_object(reply, names)
    return None if found is None else principles_of_all([found[plain_name(name)] for name in names])


def principles_of_all(given: Sequence[Any]) -> list[dict[str, float]] | None:
    """Return the seven ratings of each candidate, given the JSON value with them, or None unless all are complete."""
    ratings = [ratings_in(own, PRINCIPLES) if isinstance(own, dict) else None for own in given]
    complete = [own.scores for own in ratings if own is not None]
    return complete if len(complete) == len(given) else None
