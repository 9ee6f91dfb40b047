"""Scores of a text's length against a required length (LongWriter's S_l)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.errors import DataError
from longmab_pl.rewards.base import RewardContext, Score

_HAN = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"\b[a-zA-Z]+\b")


def count_words(text: str) -> int:
    """Return the number of Chinese characters plus runs of ASCII letters between word boundaries.

    As in the benchmark, "don't" counts as two, and letters next to other word characters ("GPT4", "AI技术", "café") do
    not count.

    Example:
        >>> count_words("中文 and don't"), count_words("GPT4")
        (5, 0)

    Source: LongWriter, `evaluation/eval_length.py`.
    """
    return len(_HAN.findall(text)) + len(_LATIN.findall(text))


def length_score(required: int, words: int) -> float:
    """Return S_l, 0 to 100: 100 at the required length, 0 from four times as long or a third as long.

    Args:
        required: words asked for, at least 1.
        words: words written; 0 words score 0.

    Raises:
        DataError: the required length is below 1.

    Example:
        >>> length_score(1000, 2500), length_score(1000, 500), length_score(1000, 0)
        (50.0, 50.0, 0.0)

    Source: LongWriter (arXiv:2408.07055), section 4.1; the program divides by zero for an empty text.
    """
    if required < 1:
        raise DataError(f"the required length is {required} words; it must be at least 1")
    if words <= 0:
        return 0.0
    too_long = words > required
    excess = (words / required - 1) / 3 if too_long else (required / words - 1) / 2
    return 100 * max(0.0, 1 - excess)


def length_term(required: int, words: int, scale: float = 10.0) -> float:
    """Return the length term of a step's value: S_l of the answer so far, divided by `scale`.

    Args:
        required: words asked for.
        words: words of the answer so far with the candidate, without the instruction's.
        scale: divisor of S_l; 10 gives a range of 0 to 10.

    Example:
        >>> length_term(1000, 500)
        5.0

    Source: LongDPO, `reason/inference/value.py` (which swaps the two arguments and counts the instruction's words).
    """
    return length_score(required, words) / scale


@dataclass(frozen=True)
class RequiredLength:
    """Scores a text by its record's required length: S_l / 100, with the number of words as the part `words`.

    A record without a required length is excluded. It sends no requests to an engine.

    Source: LongWriter (arXiv:2408.07055), section 4.1.
    """

    name: ClassVar[str] = "required_length"
    engines: ClassVar[tuple[str, ...]] = ()
    needs_embedder: ClassVar[bool] = False

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        yield from ()  # a generator without requests
        if record.length is None:
            return [Score(0.0, excluded="no required length") for _ in responses]
        words = [count_words(text) for text in responses]
        return [Score(length_score(record.length, count) / 100, {"words": float(count)}) for count in words]
