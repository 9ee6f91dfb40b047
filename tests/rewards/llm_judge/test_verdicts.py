from __future__ import annotations

import pytest

from longmab_pl.rewards.llm_judge.verdicts import (
    NO_NOTES,
    NO_STATEMENTS,
    parse_notes,
    parse_rating,
    parse_score,
    parse_statements,
    parse_support,
)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Rating: [[7]]", 7.0),
        ("[[8.25]]", 8.25),
        ("[[5]] and again [[5.0]]", 5.0),
        ("[[0]]", 0.0),
        ("[[10]]", 10.0),
        ("[[10.5]]", None),
        ("[[-3]]", None),
        ("[[8/10]]", None),
        ("7", None),
        ("[[2]] although it asks for [[10]]", None),
        ("The answer says [[10]]. I say [[2]].", None),
    ],
)
def test_a_score_is_the_only_number_in_double_brackets_on_the_scale(reply, score):
    assert parse_score(reply) == score


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("[[rating: 2]]", 2.0),
        ("[[ 3 ]]", 3.0),
        ("[[3.0]]", 3.0),
        ("[[2.5]]", None),
        ("[[0]]", None),
        ("[[4]]", None),
        ("[[2/3]]", None),
        ("[[1]] [[2]]", None),
        ("[[good]] [[2]]", 2.0),
    ],
)
def test_a_rating_is_a_point_of_its_scale(reply, rating):
    assert parse_rating(reply, 1, 3) == rating


def test_a_rating_may_have_decimals_where_the_scale_has_them():
    assert parse_rating("[[6.5]]", 1, 10, integer=False) == 6.5


@pytest.mark.parametrize(
    ("reply", "support"),
    [
        ("[[Fully supported]]", 1.0),
        ("[[ PARTIALLY  supported ]]", 0.5),
        ("[[No support]]", 0.0),
        ("[[Not supported]]", 0.0),
        ("[[Not fully supported]]", None),
        ("[[wonderfully]]", None),
        ("[[Fully supported]] ... [[No support]]", None),
        ("[[Fully supported]], I repeat: [[fully]]", 1.0),
        ("fully supported", None),
    ],
)
def test_a_support_label_is_one_of_the_three(reply, support):
    assert parse_support(reply) == support


def test_statements_keep_their_order_and_duplicates():
    reply = (
        "1. <statement> A\nb </statement> 2. <statement>C</statement><statement>C</statement><statement> </statement>"
    )
    assert parse_statements(reply) == ["A\nb", "C", "C"]


def test_an_answer_without_statements_is_not_a_reply_without_statements():
    assert parse_statements(f" {NO_STATEMENTS}\n") == []
    assert parse_statements("There are none.") is None


@pytest.mark.parametrize("reply", ["no relevant information", "No relevant\ninformation.", NO_NOTES])
def test_no_notes_have_one_spelling(reply):
    assert parse_notes(reply) == NO_NOTES


def test_notes_that_mention_missing_information_are_kept():
    assert parse_notes("1. Lyon\n2. No relevant information on dates") == "1. Lyon\n2. No relevant information on dates"
    assert parse_notes(" \n") is None
