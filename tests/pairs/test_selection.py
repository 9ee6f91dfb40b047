from __future__ import annotations

import pytest

from longmab_pl.pairs.selection import best_and_lower_half, best_and_worst


def test_the_first_of_the_best_meets_the_last_of_the_worst():
    assert best_and_worst([5.0, 9.0, 1.0, 9.0, 1.0]) == (1, 4)


@pytest.mark.parametrize("scores", [[1.0, 2.0, 3.0, 4.0], [7.0] * 5, []])
def test_small_groups_and_equal_answers_are_no_pair(scores):
    assert best_and_worst(scores) is None


def test_the_difference_must_exceed_the_margin():
    assert best_and_worst([1.0, 2.0], fewest=2, margin=1.0) is None
    assert best_and_worst([1.0, 2.0], fewest=2, margin=0.5) == (1, 0)


def test_the_lower_half_is_rounded_down():
    assert best_and_lower_half([0.3, 0.1, 0.9, 0.2, 0.5]) == (2, [1, 3])
    assert best_and_lower_half([0.5, 0.5]) == (0, [0])


def test_one_answer_has_no_lower_half():
    assert best_and_lower_half([0.5]) is None
