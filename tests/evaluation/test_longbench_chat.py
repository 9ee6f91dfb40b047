from __future__ import annotations

from longmab_pl.evaluation.longbench_chat import ChatTotal, chat_rating, chat_total


def test_ratings_go_from_1_to_10_with_decimals():
    assert [chat_rating(reply) for reply in ("[[6.5]]", "[[10]]", "[[0]]", "[[11]]", "[[9]] and [[3]]")] == [
        6.5,
        10.0,
        None,
        None,
        None,
    ]


def test_the_total_of_fifty_cases_is_ten_times_their_mean():
    assert chat_total([7.0] * 50) == ChatTotal(70.0, 50, 0)


def test_cases_without_a_verdict_count_as_the_mean_and_are_reported():
    assert chat_total([8.0, None, 6.0, None]) == ChatTotal(5.6, 2, 2)
    assert chat_total([None]) == ChatTotal(None, 0, 1)
