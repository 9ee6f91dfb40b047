"""The four dimensions of LongReward as numbers, and the language of a chunk's prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from longmab_pl.errors import DataError
from longmab_pl.rewards.llm_judge.verdicts import MAX_SCORE

DIMENSIONS = ("helpfulness", "logicality", "faithfulness", "completeness")

FAITHFULNESS_WITHOUT_STATEMENTS = 0.0
"""Faithfulness of an answer without factual statements (a refusal, an empty answer), so that it does not win by
stating nothing."""

_LATIN = re.compile(r"[A-Z\[\\\]^_`a-z]")
_HAN = re.compile(r"[\u4e00-\u9fff]")


def faithfulness(verdicts: Sequence[float]) -> float:
    """Return ten times the mean support of an answer's statements; a repeated statement counts each time.

    Args:
        verdicts: 1, 0.5 or 0 per statement; an empty sequence gives `FAITHFULNESS_WITHOUT_STATEMENTS`.

    Example:
        >>> faithfulness([1.0, 0.5, 0.0, 0.5])
        5.0

    Source: LongReward, section 3.3.
    """
    if not verdicts:
        return FAITHFULNESS_WITHOUT_STATEMENTS
    return MAX_SCORE * sum(verdicts) / len(verdicts)


def overall(scores: Mapping[str, float]) -> float:
    """Return the mean of the four dimensions, 0 to 10.

    Raises:
        DataError: a dimension has no score.

    Example:
        >>> overall({"helpfulness": 8, "logicality": 10, "faithfulness": 5, "completeness": 3})
        6.5

    Source: LongReward, section 3 (the program stores the sum, which gives the same ranking).
    """
    missing = [name for name in DIMENSIONS if name not in scores]
    if missing:
        raise DataError(f"an answer has no score for {', '.join(missing)}; exclude it, or judge it again")
    return sum(scores[name] for name in DIMENSIONS) / len(DIMENSIONS)


def language(text: str) -> Literal["en", "zh"]:
    """Return the language of a chunk's prompts: English if it has more than four Latin characters per Han character.

    As in the original, `[ \\ ] ^ _` and the backtick count as Latin, and an empty text is Chinese.

    Example:
        >>> language("The 中 is here"), language("你好 abcdefgh")
        ('en', 'zh')

    Source: LongReward, `get_lang`.
    """
    return "en" if len(_LATIN.findall(text)) > 4 * len(_HAN.findall(text)) else "zh"
