"""How much of the contexts the training prompts lose by their cut, and how many of the gold answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle, pair_context_budget
from longmab_pl.prompts import encoding

MEASURED = 200
"""Number of records that are measured: a few seconds with contexts of 16,000 tokens."""


@dataclass(frozen=True)
class ContextCuts:
    """What cutting contexts in the middle loses.

    Args:
        measured: number of records measured.
        cut: number of them whose context is cut.
        lost: median share of the text that these lose, in 0..1.
        answers_lost: number of records whose context holds a gold answer and whose cut context holds none.
        longest: tokens of the longest context.
        max_prompt_length: the limit, tokens of prompt and answer together.
    """

    measured: int
    cut: int
    lost: float
    answers_lost: int
    longest: int
    max_prompt_length: int

    def message(self) -> str:
        """Return the finding in words.

        Example:
            >>> print(ContextCuts(40, 31, 0.52, 12, 1943, 768).message())
            31 of 40 contexts are cut to fit data.pairs.max_prompt_length 768; half of these lose 52% or more of their \
tokens, and in 12 the gold answer is cut out (longest context: 1,943 tokens)
        """
        if self.cut == 0:
            return (
                f"contexts: all of {self.measured} fit the training prompt whole (the longest: {self.longest:,} tokens)"
            )
        answers = (
            f"in {self.answers_lost} the gold answer is cut out" if self.answers_lost else "no gold answer is lost"
        )
        return (
            f"{self.cut} of {self.measured} contexts are cut to fit data.pairs.max_prompt_length "
            f"{self.max_prompt_length:,}; half of these lose {self.lost:.0%} or more of their tokens, and {answers} "
            f"(longest context: {self.longest:,} tokens)"
        )


def context_cuts(
    records: Sequence[QARecord], tokenizer: Any, max_prompt_length: int, answer_tokens: int
) -> ContextCuts:
    """Measure what the training prompts of the first `MEASURED` records lose.

    Args:
        records: the records.
        tokenizer: the policy's tokenizer.
        max_prompt_length: tokens of prompt and longest answer together.
        answer_tokens: tokens of the longest answer.
    """
    chosen = records[:MEASURED]
    shares: list[float] = []
    answers_lost, longest = 0, 0
    added = tokenizer.num_special_tokens_to_add()
    for record in chosen:
        plain = encoding.text_tokenizer(tokenizer, record.context)
        length = len(plain.encode(record.context))
        longest = max(longest, length)
        question = len(tokenizer.encode(record.question, add_special_tokens=False)) + added
        answer = min(answer_tokens, max_prompt_length // 2) + added
        room = max(pair_context_budget(max_prompt_length, question, answer, answer), 0)
        if length <= room:
            continue
        shares.append(1 - room / length)
        kept = cut_middle(record.context, plain, room)
        answers_lost += _holds(record.context, record.answers) and not _holds(kept, record.answers)
    return ContextCuts(
        len(chosen), len(shares), median(shares) if shares else 0.0, answers_lost, longest, max_prompt_length
    )


def _holds(text: str, answers: Sequence[str]) -> bool:
    plain = " ".join(text.casefold().split())
    return any(" ".join(answer.casefold().split()) in plain for answer in answers)
