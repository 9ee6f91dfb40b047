"""MRCR's grade and bins by hand."""

from __future__ import annotations

import pytest

from longmab_pl.evaluation.mrcr.scoring import BINS, grade, length_bin


def test_without_the_exact_prefix_an_answer_counts_nothing():
    assert grade("abc12 a poem", "abc12 a poem", "abc12") == 1.0
    assert grade(" abc12 a poem", "abc12 a poem", "abc12") == 0.0


def test_grade_is_the_ratio_of_the_rest():
    assert grade("Pab", "Pabc", "P") == pytest.approx(2 * 2 / 5)


def test_frequent_characters_of_a_long_answer_are_no_anchors():
    assert grade("P" + "ab" * 150, "P" + "ba" * 150, "P") == 0.0


@pytest.mark.parametrize(
    ("tokens", "found"),
    [(4095, None), (4096, (4096, 8192)), (8192, (4096, 8192)), (8193, (8192, 16384)), (1 << 20, BINS[-1])],
)
def test_bins_are_closed_on_the_right(tokens, found):
    assert length_bin(tokens) == found
