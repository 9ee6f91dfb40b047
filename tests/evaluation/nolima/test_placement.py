"""Where a needle stands in a small book."""

from __future__ import annotations

import numpy as np
import pytest

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.nolima.placement import Book, distractor_depth

BOOK = Book("ab\ncd\nef\ngh\nij\n", list, "".join)  # a character a token: line ends at 2, 5, 8, 11, 14


def test_a_needle_follows_the_first_line_end_that_is_deep_enough():
    assert BOOK.place("X.", 6, 0.0).text == " X.\nb\ncd\n"
    assert BOOK.place("X.", 6, 0.5).text == "\ncd X.\nef"  # 0.5 of 7 tokens is passed at 5; three stand before it
    assert BOOK.place("X.", 6, 1.0).text == "\ncd\nef X.\n"


def test_a_place_in_the_book_stays_the_same_at_every_depth():
    assert [BOOK.place("X.", 6, depth, book_depth=0.55).text.split(" X.")[1] for depth in (0.0, 0.5)] == [
        "\ngh\nij",
        "\ngh",
    ]


def test_a_window_outside_of_the_book_is_refused():
    with pytest.raises(DataError, match="15 tokens has no window of 30"):
        BOOK.place("X.", 30, 0.5)
    with pytest.raises(ConfigError, match="either a shift or a fixed place"):
        BOOK.place("X.", 6, 0.5, shift=1, book_depth=0.5)


def test_a_distractor_keeps_away_from_the_needle_and_the_ends():
    random = np.random.RandomState(0)
    for depth in np.linspace(0, 1, 26):
        for _ in range(50):
            other = distractor_depth(1000, float(depth), random)
            assert 0.2 <= other <= 0.8
            assert abs(other - depth) >= 0.2 - 1e-9


def test_a_distractor_has_text_of_its_own():
    lines = "\n".join(f"line {i} of the book" for i in range(200))
    book = Book(lines, list, "".join)
    placed = book.place_with_distractor("NEEDLE.", "OTHER.", 1000, 0.0, 0.6)
    assert placed.text.count(" NEEDLE.\n") == placed.text.count(" OTHER.\n") == 1
