from __future__ import annotations

import math

import pytest

from longmab_pl.strategies.stepwise_search.candidates import Candidate, block_values, distinct_candidates, puct


def test_a_text_counts_once_with_its_first_sample():
    found = distinct_candidates(
        ["a", "b<end>", "a"], [math.log(0.3), math.log(0.1), 0.0], ["length", "stop", "stop"], "<end>"
    )
    assert found == [
        Candidate("a", pytest.approx(0.75), "length", False),
        Candidate("b<end>", pytest.approx(0.25), "stop", True),
    ]


def test_blank_blocks_are_left_out():
    assert distinct_candidates(["", " \n"], [0.0, 0.0], ["stop", "stop"], "<end>") == []
    assert [c.prior for c in distinct_candidates([" ", "a"], [0.0, -9.0], ["stop"] * 2, "<end>")] == [1.0]


def test_an_unvisited_child_of_an_unvisited_parent_has_its_initial_value():
    assert puct(0.9, parent_visits=0, visits=0, value_sum=5.0, initial_value=2.0) == 2.0


def test_the_bonus_grows_with_the_prior_and_falls_with_visits():
    # sqrt(4) / (1 + 1) = 1; log((4 + 19652 + 1) / 19652) = 0.000254...
    assert puct(0.5, 4, 1, 3.0, 9.0) == pytest.approx(3.0 + 0.5 * (math.log(19657 / 19652) + 1.25))
    assert puct(0.5, 4, 0, 0.0, 3.0) > puct(0.5, 4, 3, 9.0, 3.0)


def test_each_candidate_keeps_its_own_value():
    assert block_values([[3.0], [4.0]]) == [3.0, 4.0]
    assert block_values([[1.0, 2.0], [1.0, 5.0]]) == [2.0, 5.0]
