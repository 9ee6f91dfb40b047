"""Repeated attempts at a judge's question until its reply can be parsed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

TEMPERATURES = (0.01, 0.95, 0.95, 0.95, 0.95)
"""Sampling temperature of each attempt: nearly greedy first, then high enough for a different reply."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """Outcome of a question to the judge.

    Args:
        value: the parsed verdict; None if no attempt gave one.
        attempts: number of requests sent.
        reply: the last reply.
        missing: why there is no value; empty if there is one.
        tokens: tokens of all its prompts and replies.
    """

    value: T | None
    attempts: int
    reply: str
    missing: str = ""
    tokens: int = 0


def attempts(
    parse: Callable[[str], T | None], temperatures: Sequence[float] = TEMPERATURES
) -> Generator[float, str, Outcome[T]]:
    """Yield the temperature of each attempt, receive its reply, and return the first that parses.

    It is a generator, so that its caller decides how requests are sent and how many run concurrently. An empty reply
    counts as an attempt.

    Args:
        parse: function that reads a reply; None means that it has no verdict.
        temperatures: one sampling temperature per attempt.

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
