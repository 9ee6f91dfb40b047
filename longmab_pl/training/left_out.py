"""Pairs and demonstrations that are well formed and cannot be trained on, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from longmab_pl.errors import DataError
from longmab_pl.pairs.types import Demonstration, PreferencePair

Row = TypeVar("Row", PreferencePair, Demonstration)

NO_SHORT_PROMPT = "without a short prompt"
"""Reason of pairs left out of a loss that compares with a short prompt, see `LeftOut`."""

NO_GROUP = "without a group of responses"
"""Reason of pairs left out of a loss on all responses of a record."""


class LeftOut(DataError):
    """A well-formed pair that cannot be trained on.

    Args:
        reason: for counts, the words after "3 pairs": `with an empty answer`.
        message: what is wrong with this pair.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def named(row: PreferencePair | Demonstration) -> str:
    """Return a row's name for a message: `pair 'q1'`."""
    return f"{row.noun} {row.name!r}"


def longest(row: PreferencePair | Demonstration, what: str) -> str:
    """Return a name of the longest of a row's answers: `longer answer`, or `answer` where there is one."""
    return what if len(row.answers) == 1 else f"longer {what}"


def refuse_equal(row: PreferencePair | Demonstration, answers: Sequence[object]) -> None:
    """Raise `LeftOut` if both answers of a pair are the same.

    Args:
        row: a pair, or a demonstration, which has one answer.
        answers: texts or tokens of its answers.
    """
    if len(answers) == 2 and answers[0] == answers[1]:
        raise LeftOut(
            "with equal answers", f"{named(row)}: chosen and rejected are the same tokens; leave the {row.noun} out"
        )


def too_long(row: PreferencePair | Demonstration, max_length: int, what: str) -> LeftOut:
    """Return the reason of a row that takes more than `max_length` tokens.

    Args:
        row: the pair or demonstration.
        max_length: the limit in tokens.
        what: which part takes how many, and what to do, for the message.
    """
    return LeftOut(f"longer than {max_length} tokens", f"{named(row)}: {what}")
