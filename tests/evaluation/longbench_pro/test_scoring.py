"""LongBench Pro's metrics by hand."""

from __future__ import annotations

import math

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.longbench_pro import aggregation
from longmab_pl.evaluation.longbench_pro.aggregation import Run
from longmab_pl.evaluation.longbench_pro.scoring import (
    TASKS,
    accuracy,
    answer_area,
    f1,
    item_score,
    ndcg,
    pairwise,
    subem,
)


def test_answer_area_is_what_follows_the_last_marker():
    assert answer_area("the form is [Answer]\n... [Answer]\n x ") == "x"
    assert answer_area("推理 [答案] 甲") == "甲"
    assert answer_area(" no marker ") == "no marker"


def test_lines_are_compared_in_lower_case_with_single_blanks():
    assert accuracy(["Two  Words"], "[Answer]\ntwo words\nmore") == 1.0
    assert accuracy(["x"], "**[Answer]**\nx") == 0.0  # the first line is "**"


def test_an_extra_line_costs_f1_but_not_subem():
    answers, prediction = ["a", "b"], "[Answer]\na\nb\nSo that is it."
    assert f1(answers, prediction) == pytest.approx(0.8)
    assert subem(answers, prediction) == 1.0


def test_ndcg_of_two_swapped_items():
    ideal = 2 + 1 / math.log2(3)
    assert ndcg(["a", "b"], "[Answer]\nb\na") == pytest.approx((1 + 2 / math.log2(3)) / ideal)


def test_pairwise_counts_ordered_pairs_over_all_pairs_of_lines():
    assert pairwise(["a", "b", "c"], "[Answer]\na\nc\nb") == pytest.approx(2 / 3)
    assert pairwise(["a"], "[Answer]\na\nb") == 0.0


def test_an_empty_prediction_and_a_value_above_one_are_failures():
    assert item_score("T3.2 Single-Hop Fact QA", ["x"], "") is None
    assert item_score("T2.1 Global Timeline Reconstruction", ["x", "x", "y"], "[Answer]\nx\ny") is None
    with pytest.raises(ConfigError, match=r"no secondary task 'T9\.9'"):
        item_score("T9.9", ["x"], "x")


def test_there_are_twenty_five_tasks():
    assert len(TASKS) == 25


def test_best_of_n_and_pass_at_n():
    runs = [
        Run("q1", 1, 0.0, "T1. Retrieval & Ranking", "English"),
        Run("q1", 2, 1.0, "T1. Retrieval & Ranking", "English"),
        Run("q2", 1, 0.7, "T4. Summarization & Synthesis", "Chinese"),
    ]
    assert aggregation.overall(runs) == pytest.approx(0.6)
    assert (aggregation.best_of(runs, 1), aggregation.best_of(runs, 2)) == (pytest.approx(0.35), pytest.approx(0.85))
    assert (aggregation.passed(runs, 1), aggregation.passed(runs, 2)) == (0.5, 1.0)
    assert aggregation.incomplete(runs, 2) == 1
