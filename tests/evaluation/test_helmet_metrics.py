from __future__ import annotations

import pytest

from longmab_pl.evaluation.helmet_metrics import answer_metrics, choice_metrics, closed_f1, output_metrics
from longmab_pl.rewards.parsed_answer import parsed_answer


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("I think.\nAnswer: Lyon\nBut Answer: Paris", "Lyon"),
        ("ANSWER: answer: Lyon", "Lyon"),
        ("Answer:\nLyon", ""),
        ("Lyon\nParis", "Lyon"),
        ("\nLyon", ""),
    ],
)
def test_an_output_states_the_rest_of_a_line(output, answer):
    assert parsed_answer(output) == answer


@pytest.mark.parametrize(
    ("prediction", "gold", "f1"), [("yes it is", "yes", 0.0), ("yes.", "Yes", 1.0), ("big cat", "the cat", 2 / 3)]
)
def test_yes_and_no_are_matched_by_themselves_only(prediction, gold, f1):
    assert closed_f1(prediction, gold) == pytest.approx(f1)


def test_each_metric_takes_its_best_gold_answer():
    metrics = answer_metrics("Paris France", ["Rome", "Paris"])
    assert metrics == {
        "exact_match": 0.0,
        "f1": pytest.approx(2 / 3),
        "substring_exact_match": 1.0,
        "rougeL_f1": pytest.approx(2 / 3),
        "rougeL_recall": 1.0,
        "rougeLsum_f1": pytest.approx(2 / 3),
        "rougeLsum_recall": 1.0,
    }


def test_what_an_output_states_can_be_better_than_the_whole():
    assert output_metrics("Well.\nAnswer: Paris", ["Paris"])["exact_match"] == 1.0


@pytest.mark.parametrize(
    ("output", "exact", "holds"),
    [("A", 1.0, 0.0), ("(a)", 1.0, 0.0), ("It is A. Paris, surely", 1.0, 1.0), ("B. Rome", 0.0, 0.0), ("", 0.0, 0.0)],
)
def test_a_choice_is_its_letter_or_its_option(output, exact, holds):
    metrics = choice_metrics(output, "A", "A. Paris")
    assert (metrics["exact_match"], metrics["substring_exact_match"]) == (exact, holds)
