"""MRCR's grade and its length bins."""

from __future__ import annotations

from difflib import SequenceMatcher

BINS = tuple((4096 << i, 8192 << i) for i in range(8))
"""Length bins in tokens of messages and answer: the first is closed on both sides, the others on the right."""


def has_prefix(response: str, prefix: str) -> bool:
    """Return whether a response starts with the random characters, exactly."""
    return response.startswith(prefix)


def grade(response: str, answer: str, prefix: str) -> float:
    """Return how similar a response is to the answer, in 0..1; 0 without the prefix.

    The ratio is difflib's with its defaults, which ignore the frequent characters of a long answer as anchors.

    Args:
        response: the model's text, unchanged.
        answer: the prefix and the wanted text.
        prefix: the random characters that the response must start with.
    """
    if not has_prefix(response, prefix):
        return 0.0
    return SequenceMatcher(None, response.removeprefix(prefix), answer.removeprefix(prefix)).ratio()


def length_bin(tokens: int) -> tuple[int, int] | None:
    """Return the bin of a number of tokens, or None if no bin holds it."""
    for low, high in BINS:
        if low < tokens <= high or tokens == BINS[0][0] == low:
            return low, high
    return None
