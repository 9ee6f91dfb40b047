"""Parsing of ratings that a judge gives as one JSON object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DECODER = json.JSONDecoder(strict=False)
_SEPARATORS = re.compile(r"[\s_-]")
_LONGEST = 200_000
"""Maximum length of a reply that is parsed, in characters; a longer one has no verdict."""

_MOST_FAILURES = 2_000
"""Number of braces without an object after which the rest of a reply is not searched."""


@dataclass(frozen=True)
class Ratings:
    """A judge's ratings.

    Args:
        scores: name -> rating on the scale.
        analysis: the judge's analysis, or "".
    """

    scores: dict[str, float]
    analysis: str

    @property
    def mean(self) -> float:
        """Mean of all ratings."""
        return sum(self.scores.values()) / len(self.scores)


def parse_ratings(reply: str, names: Sequence[str], lowest: float = 1.0, highest: float = 5.0) -> Ratings | None:
    """Return the ratings in a reply, or None unless it has exactly one object with all of them.

    A rating is a number on the scale (also as text), or a list of weights over the points of the scale, which are
    normalized: [0, 0, 1, 1, 0] is 3.5 of 1 to 5. Names are matched ignoring case, spaces, `_` and `-`. The object may
    be anywhere in the reply, but a second complete one (such as a verdict quoted from an answer) makes the reply
    ambiguous.

    Args:
        reply: the judge's whole reply.
        names: names of the ratings.
        lowest: first point of the scale.
        highest: last point of the scale.

    Example:
        >>> parse_ratings('Here: {"clarity": 4, "Depth": [0, 0, 1, 1, 0]}', ["Clarity", "Depth"]).scores
        {'Clarity': 4.0, 'Depth': 3.5}

    Source: LongDPO, `templates/judge_text.txt`; LongWriter, `evaluation/eval_quality.py`.
    """
    found = only_object(reply, names)
    return None if found is None else ratings_in(found, names, lowest, highest)


def ratings_in(
    given: Mapping[str, Any], names: Sequence[str], lowest: float = 1.0, highest: float = 5.0
) -> Ratings | None:
    """Return the ratings in an object, or None unless it has all of them. Arguments as for `parse_ratings`."""
    found = _by_plain_name(given)
    ratings = {name: _rating(found.get(plain_name(name)), lowest, highest) for name in names}
    scores = {name: rating for name, rating in ratings.items() if rating is not None}
    return Ratings(scores, str(found.get("analysis", ""))) if len(scores) == len(names) else None


def parse_labels(reply: str, names: Sequence[str], labels: Mapping[str, float]) -> dict[str, float] | None:
    """Return the value of each name's label in the only object of a reply that has all names, or None.

    Args:
        reply: the judge's whole reply.
        names: names of the labeled items.
        labels: label in lower case -> value.

    Example:
        >>> parse_labels('{"a": "Fully", "b": "none"}', ["a", "b"], {"fully": 1.0, "none": 0.0})
        {'a': 1.0, 'b': 0.0}
    """
    found = only_object(reply, names)
    if found is None:
        return None
    values = {name: labels.get(" ".join(str(found[plain_name(name)]).lower().split())) for name in names}
    known = {name: value for name, value in values.items() if value is not None}
    return known if len(known) == len(names) else None


def only_object(reply: str, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the only JSON object in a reply that has all names, by `plain_name`; None for none or several."""
    complete = []
    for found in _objects(reply[:_LONGEST]):
        values = _by_plain_name(found)
        if all(plain_name(name) in values for name in names):
            complete.append(values)
    return complete[0] if len(complete) == 1 else None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost JSON objects in a text, in order."""
    position = text.find("{")
    failures = 0
    while position >= 0 and failures < _MOST_FAILURES:
        try:
            found, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            failures += 1
            end = position + 1
        else:
            yield found
        position = text.find("{", end)


def _by_plain_name(found: Mapping[str, Any]) -> dict[str, Any]:
    return {plain_name(key): value for key, value in found.items()}


def plain_name(name: str) -> str:
    """Return a name without case, spaces, `_` and `-`, by which names in a reply are matched."""
    return _SEPARATORS.sub("", name.lower())


def _rating(value: Any, lowest: float, highest: float) -> float | None:
    if isinstance(value, list):
        return _expected(value, lowest, highest)
    number = _number(value)
    return number if number is not None and lowest <= number <= highest else None


def _expected(weights: list[Any], lowest: float, highest: float) -> float | None:
    """Return the mean point of the scale, given one weight per point."""
    numbers = [number for weight in weights if (number := _number(weight)) is not None and number >= 0]
    points = int(highest - lowest) + 1
    if len(numbers) != len(weights) or len(weights) != points or not 0 < sum(numbers) < float("inf"):
        return None
    return sum((lowest + i) * number for i, number in enumerate(numbers)) / sum(numbers)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
