"""Statistics of degenerate texts: how much of a long answer repeats itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORDS = re.compile(r"[\u4e00-\u9fff]|[^\W_]+")
_SENTENCES = re.compile(r"(?<=[.!?。！？])\s+|\n+")


def distinct_n(text: str, n: int) -> float:
    """Return the share of different ones among a text's n-grams of words (of characters in Chinese), in 0..1.

    Args:
        text: any text.
        n: words in an n-gram; a text with fewer words has no repetition: 1.

    Example:
        >>> distinct_n("a b a b a", 2)
        0.5

    Source: Li et al. (arXiv:1510.03055), section 5.1.
    """
    words = _WORDS.findall(text.lower())
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def repetition_rate(text: str, n: int = 4) -> float:
    """Return the share of n-grams of words that occurred before in the text, in 0..1: 1 - distinct_n.

    Example:
        >>> repetition_rate("go on and on and on and on and on")
        0.5714285714285714

    Source: Welleck et al. (arXiv:1908.04319), section 6.1 (seq-rep-n).
    """
    return 1.0 - distinct_n(text, n)


def repeated_sentences(text: str) -> float:
    """Return the share of sentences (of three words at least) that stood in the text before, in 0..1.

    Example:
        >>> repeated_sentences("It was cold. He went home. It was cold.")
        0.3333333333333333
    """
    sentences = [tuple(_WORDS.findall(part.lower())) for part in _SENTENCES.split(text)]
    sentences = [sentence for sentence in sentences if len(sentence) >= 3]
    return 1 - len(set(sentences)) / len(sentences) if sentences else 0.0


def degeneration(text: str) -> Mapping[str, float]:
    """Return all statistics of a text by name: `repetition`, `repeated_sentences`, `distinct_1`, `distinct_2`."""
    return {
        "repetition": repetition_rate(text),
        "repeated_sentences": repeated_sentences(text),
        "distinct_1": distinct_n(text, 1),
        "distinct_2": distinct_n(text, 2),
    }


NAMES = tuple(degeneration(""))
"""Names of the statistics."""
