from __future__ import annotations

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.strategies.bandit.early_stopping import EarlyStopping


@pytest.mark.parametrize(
    ("rewards", "verdict"),
    [([0.0, 1.0], "separated"), ([0.0, 0.9], ""), ([0.1, 1.0], ""), ([1.0, 0.5, 0.0], "separated"), ([], "")],
)
def test_separated_at_the_largest_margin(rewards, verdict):
    assert EarlyStopping(patience=None).reason(rewards, 3) == verdict


def test_a_smaller_margin_can_be_enough():
    assert EarlyStopping(margin=0.5, patience=None).reason([0.2, 0.7], 2) == "separated"
    assert EarlyStopping(margin=0.5, patience=None).reason([0.2, 0.6], 2) == ""


@pytest.mark.parametrize(
    ("rewards", "verdict"),
    [
        ([0.0, 1.0], ""),
        ([0.0, 0.0, 1.0], ""),
        ([0.0, 0.0, 1.0, 1.0], "separated"),
        ([0.0, 0.3, 1.0, 1.0], ""),
        ([0.0, 0.0, 0.4, 0.9, 1.0], ""),
    ],
)
def test_two_pairs_need_two_best_and_two_worst(rewards, verdict):
    assert EarlyStopping(pairs=2, patience=None).reason(rewards, 5) == verdict


@pytest.mark.parametrize("reward", [0.0, 0.4, 1.0])
def test_no_signal_when_all_answers_score_the_same_for_too_long(reward):
    stopping = EarlyStopping(patience=4)
    assert stopping.reason([reward] * 3, 3) == ""
    assert stopping.reason([reward] * 3, 4) == "no_signal", "pulls count, not different answers"
    assert stopping.reason([reward, reward + 0.1], 30) == ""
    assert EarlyStopping(patience=None).reason([reward] * 3, 30) == ""


def test_no_answer_at_all_is_no_signal_too():
    assert EarlyStopping(patience=4).reason([], 4) == "no_signal"


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
        EarlyStopping(**options)
