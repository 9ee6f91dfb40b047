"""The words in which two answers differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

COMPARED_WORDS = 2_000
"""Longest answer that is compared word by word; of longer ones the common beginning and end are found."""

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Part:
    """A part of an answer, and whether the other answer has it too."""

    text: str
    differs: bool


def differences(first: str, second: str) -> tuple[list[Part], list[Part]]:
    """Return both answers in parts.

    Example:
        >>> differences("the river Po", "the river Rhine")[0]
        [Part(text='the river ', differs=False), Part(text='Po', differs=True)]
    """
    a, b = _WORDS.findall(first), _WORDS.findall(second)
    left: list[Part] = []
    right: list[Part] = []
    for same, (i, j), (k, m) in _blocks(a, b):
        for parts, words in ((left, a[i:j]), (right, b[k:m])):
            if words:
                parts.append(Part("".join(words), not same))
    return left, right


Range = tuple[int, int]


def _blocks(a: Sequence[str], b: Sequence[str]) -> list[tuple[bool, Range, Range]]:
    """Return ranges of words that are the same or not, in order."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[len(a) - 1 - end] == b[len(b) - 1 - end]:
        end += 1
    middle = (a[start : len(a) - end], b[start : len(b) - end])
    blocks = [(True, (0, start), (0, start))]
    if max(map(len, middle)) > COMPARED_WORDS:
        blocks.append((False, (start, len(a) - end), (start, len(b) - end)))
    else:
        matcher = SequenceMatcher(str.isspace, *middle)
        for kind, i, j, k, m in matcher.get_opcodes():
            blocks.append((kind == "equal", (start + i, start + j), (start + k, start + m)))
    blocks.append((True, (len(a) - end, len(a)), (len(b) - end, len(b))))
    return blocks
