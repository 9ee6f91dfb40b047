from __future__ import annotations

import math

import pytest

from longmab_pl.bandits.moss import MOSS


def test_index_by_hand() -> None:
    policy = MOSS([0.4, 0.6], top_k=1, alpha=1.0)
    for reward in (1.0, 0.0, 0.5, 0.5, 0.0, 1.0):
        policy.update([0], reward)
    policy.update([1], 0.2)
    # 7 plays, 2 arms; observations 7 and 2; 7 / (2 * 7) is below 1: no bonus for arm 0
    expected = [(0.4 + 3.0) / 7, (0.6 + 0.2) / 2 + math.sqrt(math.log(7 / (2 * 2)) / 2)]
    assert policy.index() == pytest.approx(expected, abs=1e-12)


def test_alpha_scales_the_bonus() -> None:
    bonus = {}
    for alpha in (1.0, 3.0):
        policy = MOSS([0.0, 0.0], top_k=1, alpha=alpha)
        for _ in range(8):
            policy.update([0], 0.0)
        bonus[alpha] = policy.index()[1]
    assert bonus[3.0] == pytest.approx(bonus[1.0] * math.sqrt(2))


def test_greedy_while_there_are_more_arms_than_plays() -> None:
    policy = MOSS([0.5 - i / 1000 for i in range(100)], top_k=4)
    for _ in range(20):
        chosen = policy.select()
        assert chosen == [0, 1, 2, 3]
        policy.update(chosen, 0.6)
    assert (policy.index() == policy.values).all()
