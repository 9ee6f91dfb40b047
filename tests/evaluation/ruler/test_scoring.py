"""RULER's scores by hand."""

from __future__ import annotations

import pytest

from longmab_pl.evaluation.ruler.scoring import (
    all_found,
    any_found,
    clean,
    effective_length,
    mean_score,
    weighted_averages,
)


def test_all_found_counts_references_inside_the_answer_whatever_their_case():
    assert all_found("The numbers are 123 and ABC.", ["123", "abc", "9"]) == pytest.approx(2 / 3)


def test_one_reference_is_enough_for_the_questions():
    assert any_found("It was Paris, I think.", ["London", "paris"]) == 1.0
    assert any_found("It was Rome.", ["London", "paris"]) == 0.0


def test_control_characters_become_line_breaks_and_the_ends_are_stripped():
    assert clean("\x1f one\x00two \n") == "one\ntwo"


def test_mean_is_in_percent_with_two_decimals():
    assert mean_score([1.0, 0.0, 0.0]) == 33.33


def test_effective_length_is_the_largest_above_the_threshold_though_a_shorter_one_is_below():
    assert effective_length({4096: 96.0, 8192: 80.0, 16384: 86.0, 32768: 85.6}) == 16384
    assert effective_length({4096: 85.6}) is None
    assert effective_length({4096: 50.0}, threshold=40.0) == 4096


def test_weighted_averages_are_those_of_the_papers_table():
    # Llama-3.1-8B: 95.5 93.8 91.6 87.4 84.7 77.0 -> 85.4 and 91.3
    curve = dict(zip((4, 8, 16, 32, 64, 128), (95.5, 93.8, 91.6, 87.4, 84.7, 77.0), strict=True))
    increasing, decreasing = weighted_averages(curve)
    assert (round(increasing, 1), round(decreasing, 1)) == (85.4, 91.3)
