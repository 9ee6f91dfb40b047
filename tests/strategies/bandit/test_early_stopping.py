from __future__ import annotations

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.strategies.bandit.early_stopping import Stopping


@pytest.mark.parametrize(
    ("rewards", "verdict"),
    [([0.0, 1.0], "settled"), ([0.0, 0.9], ""), ([0.1, 1.0], ""), ([1.0, 0.5, 0.0], "settled"), ([], "")],
)
def test_settled_at_the_largest_margin(rewards, verdict):
    assert Stopping(patience=None).verdict(rewards, 3) == verdict


def test_a_smaller_margin_can_be_enough():
    assert Stopping(margin=0.5, patience=None).verdict([0.2, 0.7], 2) == "settled"
    assert Stopping(margin=0.5, patience=None).verdict([0.2, 0.6], 2) == ""


@pytest.mark.parametrize(
    ("rewards", "verdict"),
    [
        ([0.0, 1.0], ""),
        ([0.0, 0.0, 1.0], ""),
        ([0.0, 0.0, 1.0, 1.0], "settled"),
        ([0.0, 0.3, 1.0, 1.0], ""),
        ([0.0, 0.0, 0.4, 0.9, 1.0], ""),
    ],
)
def test_two_pairs_need_two_best_and_two_worst(rewards, verdict):
    assert Stopping(pairs=2, patience=None).verdict(rewards, 5) == verdict


@pytest.mark.parametrize("reward", [0.0, 0.4, 1.0])
def test_hopeless_when_all_answers_are_worth_the_same_for_too_long(reward):
    stopping = Stopping(patience=4)
    assert stopping.verdict([reward] * 3, 3) == ""
    assert stopping.verdict([reward] * 3, 4) == "hopeless", "pulls count, not different answers"
    assert stopping.verdict([reward, reward + 0.1], 30) == ""
    assert Stopping(patience=None).verdict([reward] * 3, 30) == ""


def test_no_answer_at_all_is_hopeless_too():
    assert Stopping(patience=4).verdict([], 4) == "hopeless"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0}, r"margin is 0; it must be in \(0, 1\]"),
        ({"margin": 1.1}, "margin is 1.1"),
        ({"pairs": 0}, "pairs is 0"),
        ({"patience": 0}, "patience is 0"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ConfigError, match=message):
        Stopping(**options)
