from __future__ import annotations

import math

import numpy as np
import pytest

from longmab_pl.bandits.ucb_tuned import UCBTuned


def by_hand(observations: list[float], t: int) -> float:
    n = len(observations)
    variance = float(np.var(observations)) + math.sqrt(2 * math.log(t) / n)
    return float(np.mean(observations)) + math.sqrt(math.log(t) / n * min(0.25, variance))


def test_index_by_hand() -> None:
    policy = UCBTuned([0.4, 0.6, 0.2], top_k=1)
    for reward in (1.0, 0.0, 0.25):
        policy.update([0], reward)
    policy.update([1], 0.6)
    policy.round = 7
    expected = [by_hand([0.4, 1.0, 0.0, 0.25], 7), by_hand([0.6, 0.6], 7), by_hand([0.2], 7)]
    assert policy.index() == pytest.approx(expected, abs=1e-12)


def test_an_arm_of_constant_reward_gets_the_smaller_bonus() -> None:
    policy = UCBTuned([0.5, 0.5], top_k=1)
    for i in range(400):
        policy.update([0], 0.5)
        policy.update([1], float(i % 2))
    policy.round = 3
    steady, varied = policy.index() - policy.values
    n = 401
    assert steady == pytest.approx(math.sqrt(math.log(3) / n * math.sqrt(2 * math.log(3) / n)))
    assert varied == pytest.approx(math.sqrt(math.log(3) / n * 0.25))
    assert steady < varied
