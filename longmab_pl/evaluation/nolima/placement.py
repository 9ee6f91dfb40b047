"""NoLiMa's placement of needles: at a line end of a window that slides over a book."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from longmab_pl.errors import ConfigError, DataError


@dataclass(frozen=True)
class Placed:
    """A haystack with its needle.

    Args:
        text: the haystack.
        before: tokens of the book in front of the needle.
        book_depth: place of the needle in the book, in 0..1; -1 for the first place that suits.
    """

    text: str
    before: int
    book_depth: float


SHORT = 500
"""Window length in tokens below which the places of distractors are fixed."""

FREE = 0.2
"""Share of the window on both sides of the needle, and at both ends, that a distractor stays out of."""


def distractor_depth(length: int, depth: float, random: np.random.RandomState) -> float:
    """Return the place of a distractor, in 0..1: drawn uniformly from the free parts, or fixed in short windows.

    The limits between the three fixed depths are ours; the original's are known at depths 0, 0.1, 0.3, ..., 1 only.
    """
    if length < SHORT:
        return 0.7 if depth <= 0.5 else 0.5 if depth < 0.8 else 0.6
    before = max(depth - FREE, FREE) - FREE  # how much is free in front of the needle, and behind it
    after = 1 - FREE - min(depth + FREE, 1 - FREE)
    drawn = random.uniform() * (before + after)
    return FREE + drawn if drawn < before else max(depth + FREE, FREE) + drawn - before


class Book:
    """A book in tokens, with the line ends that a needle may follow.

    Args:
        text: the book.
        encode: function from text to token ids, without special tokens.
        decode: function from token ids to text.
    """

    def __init__(
        self, text: str, encode: Callable[[str], Sequence[Any]], decode: Callable[[Sequence[Any]], str]
    ) -> None:
        self.tokens = encode(text)
        self._decode = decode
        self.places = [0, *(i for i, token in enumerate(self.tokens) if i and "\n" in decode([token]))]

    def place(
        self, needle: str, length: int, depth: float, *, shift: int = 0, book_depth: float | None = None
    ) -> Placed:
        """Return a window of the book with the needle in it.

        Args:
            needle: the sentence.
            length: tokens of the book in the window, without the needle.
            depth: share of the window in front of the needle, in 0..1.
            shift: tokens at the beginning of the book that are left out.
            book_depth: place of the needle in the book, in 0..1, the same at every depth; None: the first that suits.

        Raises:
            ConfigError: both a shift and a place in the book.
            DataError: the book has no such window.
        """
        if shift and book_depth is not None:
            raise ConfigError("a NoLiMa haystack has either a shift or a fixed place in the book; leave one out")
        before = int(np.round(length * depth))
        place = self._first(length, depth, shift) if book_depth is None else self._nearest(book_depth)
        start = place - before
        end = start + length
        if book_depth is not None:  # the place has to suit every depth
            start, end = min(start, place - length), max(end, place + length)
        if start < 0 or end > len(self.tokens):
            raise DataError(
                f"a book of {len(self.tokens)} tokens has no window of {length} with a line end at depth {depth:g}; "
                "use a longer book or a shorter length"
            )
        start = place - before
        lines = self._decode(self.tokens[start : place + 1]) if place else ""
        head = lines[: lines.rindex("\n")] if "\n" in lines else lines
        tail = self._decode(self.tokens[place + 1 : start + length])
        stands = -1 if book_depth is None else place / len(self.tokens)
        return Placed(f"{head} {needle}\n{tail}", before, stands)

    def place_with_distractor(self, needle: str, distractor: str, length: int, depth: float, other: float) -> Placed:
        """Return a window with the needle and a distractor.

        The distractor is where it would be as the needle of its own window, in short windows one character earlier,
        as in the original. Its place is found by the characters before it.

        Args:
            needle, length, depth: as in `place`.
            distractor: the other sentence.
            other: its depth (`distractor_depth`).

        Raises:
            DataError: the book has no such window, or the text before the distractor does not occur exactly once.
        """
        placed = self.place(needle, length, depth)
        own = self.place(distractor, length, other).text.partition(f" {distractor}\n")[0]
        mark = own[-26:-1] if length < SHORT else own[-50:]
        if placed.text.count(mark) != 1:
            raise DataError(
                f"what stands before a NoLiMa distractor at depth {other:.2f} is not there exactly once in a window of "
                f"{length} tokens at depth {depth:g}; leave this depth out"
            )
        head, _, tail = placed.text.partition(mark)
        return replace(placed, text=f"{head}{mark} {distractor}\n{tail}")

    def _first(self, length: int, depth: float, shift: int) -> int:
        return next((place for place in self.places if (place - shift) / (length + 1) >= depth), 0)

    def _nearest(self, book_depth: float) -> int:
        return min(self.places, key=lambda place: abs(place / len(self.tokens) - book_depth))
