"""LongBench v2's letter and table by hand."""

from __future__ import annotations

import pytest

from longmab_pl.evaluation.longbench_v2.scoring import Judged, accuracies, answer_letter


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("The correct answer is (B).", "B"),
        ("The correct answer is C", "C"),
        ("**The correct answer is (D)**", "D"),
        ("The correct answer is A. No: The correct answer is (B)", "B"),
        ("The correct answer is Definitely (B)", "D"),
        ("the correct answer is (B)", None),
        ("The correct answer is: (B)", None),
        ("B", None),
        ("", None),
    ],
)
def test_letter_of_the_fixed_sentence(response, letter):
    assert answer_letter(response) == letter


ROWS = [
    Judged("easy", "short", "A", True),
    Judged("hard", "short", None, False),
    Judged("hard", "medium", "B", False),
]


def test_accuracy_by_group_leaves_an_empty_one_blank():
    assert accuracies(ROWS) == {
        "Overall": 33.3,
        "Easy": 100.0,
        "Hard": 0.0,
        "Short": 50.0,
        "Medium": 0.0,
        "Long": None,
    }


def test_compensated_score_counts_a_missing_letter_as_chance():
    found = accuracies(ROWS, compensated=True)
    assert (found["Overall"], found["Hard"]) == (41.7, 12.5)
