"""The middle cuts of whole prompts."""

from __future__ import annotations

from longmab_pl.evaluation.middle_cut import without_middle, without_middle_evenly


def test_the_odd_item_of_a_limit_stays_at_the_end_or_is_lost():
    assert without_middle([1, 2, 3, 4, 5, 6], 5) == [1, 2, 4, 5, 6]
    assert without_middle_evenly([1, 2, 3, 4, 5, 6], 5) == [1, 2, 5, 6]


def test_what_fits_is_untouched_and_a_limit_of_one_keeps_the_last():
    assert without_middle([1, 2], 2) == without_middle_evenly([1, 2], 2) == [1, 2]
    assert without_middle([1, 2, 3], 1) == [3]
    assert without_middle_evenly([1, 2, 3], 1) == []
