from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from longmab_pl.bandits.policy import BanditPolicy
from longmab_pl.bandits.ucb1 import UCB1
from longmab_pl.bandits.uniform import Uniform
from longmab_pl.errors import ConfigError, DataError, LongMabError

ASSETS = Path(__file__).parents[1] / "assets"


def traces() -> list[dict]:
    with gzip.open(ASSETS / "ucb_traces.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("trace", traces(), ids=lambda t: f"{len(t['initial_scores'])}arms-top{t['top_k']}")
def test_every_step_of_the_reference_traces(trace: dict) -> None:
    policy = UCB1(trace["initial_scores"], trace["top_k"])
    for t, step in enumerate(trace["steps"], start=1):
        assert policy.select() == step["selected"]
        assert policy.round == t
        policy.update(step["selected"], step["reward"])
        np.testing.assert_allclose(policy.values, step["values"], rtol=0, atol=1e-11)
    assert policy.pulls.sum() == len(trace["steps"]) * trace["top_k"]


def test_round_one_follows_the_scores_then_unplayed_arms_come_first() -> None:
    policy = UCB1([0.9, 0.1, 0.8, 0.2], top_k=2)
    assert policy.select() == [0, 2]
    policy.update([0, 2], 1.0)
    assert policy.select() == [1, 3]


def test_the_initial_score_weighs_as_one_observation() -> None:
    policy = UCB1([0.4], top_k=1)
    for reward in (1.0, 0.0, 0.5):
        policy.update(policy.select(), reward)
    assert policy.values[0] == pytest.approx((0.4 + 1.0 + 0.0 + 0.5) / 4)


def test_formula_in_round_three() -> None:
    policy = UCB1([0.5, 0.5, 0.0], top_k=1)
    for arms, reward in (([0], 0.9), ([1], 0.2), ([2], 0.1)):
        policy.select()
        policy.update(arms, reward)
    bounds = [v + math.sqrt(2 * math.log(4) / (n + 1e-6)) for v, n in zip(policy.values, policy.pulls, strict=True)]
    assert policy.select() == [int(np.argmax(bounds))] == [0]


def test_ties_go_to_the_later_chunk_on_every_machine() -> None:
    assert UCB1([0.3] * 6, top_k=2).select() == [4, 5]
    assert UCB1([0.3, 0.7, 0.3, 0.3], top_k=3).select() == [1, 2, 3]


def test_more_arms_asked_than_there_are() -> None:
    for policy in (UCB1([0.1, 0.2], top_k=4), Uniform([0.1, 0.2], top_k=4)):
        assert policy.select() == [0, 1]


def test_values_and_pulls_are_copies() -> None:
    for policy in (UCB1([0.1, 0.2], 1), Uniform([0.1, 0.2], 1)):
        before, pulls = policy.values, policy.pulls
        before[0] = 9.0
        policy.update([0], 1.0)
        assert policy.values[0] == pytest.approx(0.55)
        assert pulls.tolist() == [0, 0]
        assert policy.pulls.tolist() == [1, 0]


def test_the_given_scores_are_not_changed() -> None:
    scores = np.array([0.1, 0.2])
    policy = UCB1(scores, 1)
    policy.update([0], 1.0)
    assert scores.tolist() == [0.1, 0.2]


def test_uniform_is_seeded_and_plays_every_arm() -> None:
    first, second, other = (Uniform([0.5] * 10, 3, seed=seed) for seed in (7, 7, 8))
    plays = [first.select() for _ in range(40)]
    assert plays == [second.select() for _ in range(40)]
    assert plays != [other.select() for _ in range(40)]
    assert all(len(set(play)) == 3 and play == sorted(play) for play in plays)
    assert {arm for play in plays for arm in play} == set(range(10))


@pytest.mark.parametrize("policy", [UCB1, Uniform])
@pytest.mark.parametrize(
    ("scores", "top_k", "error", "message"),
    [
        ([], 1, DataError, "empty"),
        ([0.1, float("nan")], 1, DataError, r"initial_scores\[1\] is nan"),
        ([0.1, float("inf")], 1, DataError, "inf"),
        ([[0.1, 0.2]], 1, DataError, "shape"),
        (["x"], 1, DataError, "not numbers"),
        ([0.1], 0, ConfigError, "top_k is 0"),
        ([0.1], 1.5, ConfigError, "top_k is 1.5"),
        ([0.1], True, ConfigError, "top_k is True"),
    ],
)
def test_bad_arms(policy: type, scores: list, top_k: int, error: type[LongMabError], message: str) -> None:
    with pytest.raises(error, match=message):
        policy(scores, top_k)


@pytest.mark.parametrize("policy", [UCB1([0.1, 0.2, 0.3], 2), Uniform([0.1, 0.2, 0.3], 2)], ids=["ucb1", "uniform"])
@pytest.mark.parametrize(
    ("indices", "reward", "message"),
    [
        ([3], 0.5, "arms are 0..2"),
        ([-1], 0.5, "arms are 0..2"),
        ([1, 1], 0.5, "at most once"),
        ([], 0.5, "non-empty"),
        ([0.5], 0.5, "integer"),
        ([0], float("nan"), "finite"),
    ],
)
def test_bad_plays_change_nothing(policy: BanditPolicy, indices: list, reward: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        policy.update(indices, reward)
    assert policy.pulls.tolist() == [0, 0, 0]
    assert policy.values.tolist() == [0.1, 0.2, 0.3]
