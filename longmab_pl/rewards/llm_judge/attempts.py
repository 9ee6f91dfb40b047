"""A judge's question asked until its reply can be read."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

TEMPERATURES = (0.01, 0.95, 0.95, 0.95, 0.95)
"""Sampling temperature of each attempt: nearly greedy first, then different enough to come out otherwise."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a question to the judge came to.

    Args:
        value: the parsed verdict; None where no attempt gave one.
        attempts: requests made.
        reply: the last reply.
    """

    value: T | None
    attempts: int
    reply: str


def attempts(
    parse: Callable[[str], T | None], temperatures: Sequence[float] = TEMPERATURES
) -> Generator[float, str, Outcome[T]]:
    """Yield the temperature of each attempt, take its reply, and return the first that parses.

    A generator, so that whoever drives it decides how requests are made and how many are in flight. An empty reply
    counts as an attempt.

    Args:
        parse: reads a reply; None means that it holds no verdict.
        temperatures: one an attempt.

    Example:
        >>> asking = attempts(lambda reply: float(reply) if reply.isdigit() else None)
        >>> next(asking), asking.send("what?")
        (0.01, 0.95)

    Source: LongReward, `auto_scorer.py`: five attempts.
    """
    reply = ""
    for number, temperature in enumerate(temperatures, 1):
        reply = yield temperature
        value = parse(reply)
        if value is not None:
            return Outcome(value, number, reply)
    return Outcome(None, len(temperatures), reply)
