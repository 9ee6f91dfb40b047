"""LongBench-Chat: fifty open questions, each answer rated from 1 to 10 by a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longmab_pl.rewards.llm_judge.verdicts import parse_rating


@dataclass(frozen=True)
class ChatTotal:
    """The result over all cases.

    Args:
        total: a fifth of the sum of all ratings (10 to 100 for the fifty cases); a case without a verdict counts as the
            mean of the others. None where no case has one.
        judged: cases with a verdict.
        unjudged: cases without a verdict.
    """

    total: float | None
    judged: int
    unjudged: int


def chat_rating(reply: str) -> float | None:
    """Return the rating of 1 to 10 in a reply, decimals allowed, or None.

    Source: LongReward, `evaluation/LongBench_Chat`.
    """
    return parse_rating(reply, 1, 10, integer=False)


def chat_total(ratings: Sequence[float | None]) -> ChatTotal:
    """Return the total of the cases' ratings (None: no verdict), with the number of cases that have none.

    Example:
        >>> chat_total([10.0, 1.0]).total, chat_total([10.0, None])
        (2.2, ChatTotal(total=4.0, judged=1, unjudged=1))

    Source: LongReward, `evaluation/LongBench_Chat` (which fails on a case without a verdict).
    """
    judged = [rating for rating in ratings if rating is not None]
    unjudged = len(ratings) - len(judged)
    if not judged:
        return ChatTotal(None, 0, unjudged)
    return ChatTotal(
        sum(judged) / len(judged) * len(ratings) / 5 if unjudged else sum(judged) / 5, len(judged), unjudged
    )
