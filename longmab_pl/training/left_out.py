"""Pairs that are well formed and cannot be trained on, and why."""

from __future__ import annotations

from longmab_pl.errors import DataError
from longmab_pl.pairs.types import PreferencePair

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


def equal_answers(pair: PreferencePair) -> LeftOut:
    """Return the reason of a pair whose answers are the same tokens."""
    return LeftOut(
        "with equal answers", f"pair {pair.name!r}: chosen and rejected are the same tokens; leave the pair out"
    )


def too_long(pair: PreferencePair, max_length: int, what: str) -> LeftOut:
    """Return the reason of a pair that takes more than `max_length` tokens.

    Args:
        pair: the pair.
        max_length: the limit in tokens.
        what: which part takes how many, and what to do, for the message.
    """
    return LeftOut(f"longer than {max_length} tokens", f"pair {pair.name!r}: {what}")
