from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from longmab_pl.bandits import POLICIES, BanditPolicy, BanditSettings, UCBTuned
from longmab_pl.bandits.index_policy import largest
from longmab_pl.errors import ConfigError, DataError

MEANS = ["ucb1", "ucb_tuned", "kl_ucb", "moss", "successive_elimination", "uniform"]


def play(policy: BanditPolicy, rounds: int, seed: int = 0) -> list[list[int]]:
    rewards = np.random.default_rng(seed).random(rounds)
    plays = []
    for reward in rewards:
        plays.append(policy.select())
        policy.update(plays[-1], float(reward))
    return plays


@pytest.mark.parametrize("name", POLICIES)
def test_the_contract(name: str) -> None:
    scores = np.random.default_rng(3).random(10)
    policy = BanditSettings(name).start(scores, 4, seed=5)
    np.testing.assert_allclose(policy.values, scores.clip(0.01, 0.99))
    plays = play(policy, 30)
    for chosen in plays:
        assert chosen == sorted(set(chosen))
        assert len(chosen) == 4
        assert all(type(arm) is int and 0 <= arm < 10 for arm in chosen)
    assert policy.pulls.tolist() == [sum(arm in chosen for chosen in plays) for arm in range(10)]
    assert np.isfinite(policy.values).all()


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_and_rewards_give_the_same_plays(name: str) -> None:
    scores = np.random.default_rng(3).random(20).tolist()
    first, again = (BanditSettings(name).start(scores, 4, seed=9) for _ in range(2))
    assert play(first, 30) == play(again, 30)
    assert first.values.tolist() == again.values.tolist()


@pytest.mark.parametrize("name", ["thompson_beta", "linear_thompson", "uniform"])
def test_another_seed_gives_other_plays(name: str) -> None:
    assert "seed" in inspect.signature(POLICIES[name]).parameters
    one, other = (BanditSettings(name).start([0.5] * 20, 4, seed=s) for s in (1, 2))
    assert play(one, 30) != play(other, 30)


@pytest.mark.parametrize("name", MEANS)
def test_values_are_means_with_the_score_as_one_observation(name: str) -> None:
    policy = BanditSettings(name).start([0.4, 0.7], 2, seed=0)
    for reward in (1.0, 0.0, 0.5):
        policy.update([0], reward)
    np.testing.assert_allclose(policy.values, [(0.4 + 1.5) / 4, 0.7])
    assert policy.pulls.tolist() == [3, 0]


def test_prior_weight_counts_observations() -> None:
    policy = UCBTuned([0.4], 1, prior_weight=3.0)
    policy.update([0], 1.0)
    policy.update([0], 0.0)
    assert policy.values[0] == pytest.approx((3 * 0.4 + 1.0) / 5)
    assert policy.observations.tolist() == [5.0]


@pytest.mark.parametrize("name", POLICIES)
def test_more_arms_asked_than_there_are(name: str) -> None:
    policy = BanditSettings(name).start([0.1, 0.9], 4, seed=0)
    assert play(policy, 5) == [[0, 1]] * 5


@pytest.mark.parametrize("name", ["ucb1", "ucb_tuned", "kl_ucb", "moss", "successive_elimination"])
def test_round_one_follows_the_scores(name: str) -> None:
    assert BanditSettings(name).start([0.1, 0.9, 0.3, 0.8, 0.2], 2, seed=0).select() == [1, 3]
    assert BanditSettings(name).start([0.3] * 6, 2, seed=0).select() == [4, 5]


@pytest.mark.parametrize("name", POLICIES)
def test_arrays_given_and_returned_are_not_shared(name: str) -> None:
    scores = np.array([0.1, 0.2, 0.3])
    policy = BanditSettings(name).start(scores, 2, seed=0)
    values, pulls = policy.values, policy.pulls
    values[:] = 9.0
    policy.update([0, 1], 1.0)
    assert scores.tolist() == [0.1, 0.2, 0.3]
    assert pulls.tolist() == [0, 0, 0]
    assert policy.values.max() < 2


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    ("scores", "top_k", "error", "message"),
    [
        ([], 1, DataError, "empty"),
        ([0.1, float("nan")], 1, DataError, r"initial_scores\[1\] is nan"),
        ([0.1], 0, ConfigError, "top_k is 0"),
    ],
)
def test_bad_arms(name: str, scores: list[float], top_k: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        POLICIES[name](scores, top_k)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(("indices", "reward"), [([3], 0.5), ([1, 1], 0.5), ([], 0.5), ([0], float("nan"))])
def test_bad_plays_change_nothing(name: str, indices: list[int], reward: float) -> None:
    touched, fresh = (BanditSettings(name).start([0.1, 0.2, 0.3], 2, seed=0) for _ in range(2))
    with pytest.raises(DataError):
        touched.update(indices, reward)
    assert touched.values.tolist() == fresh.values.tolist()
    assert play(touched, 10) == play(fresh, 10)


@pytest.mark.parametrize("name", ["kl_ucb", "thompson_beta"])
@pytest.mark.parametrize("reward", [-0.1, 1.1])
def test_policies_for_unit_rewards_refuse_others(name: str, reward: float) -> None:
    policy = BanditSettings(name).start([0.5, 0.5], 1, seed=0)
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        policy.update([0], reward)
    assert policy.pulls.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kl_ucb", {"c": -1.0}, "c is -1.0"),
        ("kl_ucb", {"prior_weight": 0.0}, "prior_weight is 0.0"),
        ("moss", {"alpha": float("nan")}, "alpha is nan"),
        ("ucb_tuned", {"prior_weight": True}, "prior_weight is True"),
        ("thompson_beta", {"update_rule": "coin"}, "update_rule is 'coin'"),
        ("linear_thompson", {"noise_std": 0.0}, "noise_std is 0.0"),
        ("linear_thompson", {"exploration": -1.0}, "exploration is -1.0"),
        ("successive_elimination", {"delta": 1.0}, "delta is 1.0"),
        ("successive_elimination", {"radius_scale": 0}, "radius_scale is 0"),
        ("ucb1", {"alpha": 1.0}, "alpha; policy 'ucb1' takes: none"),
    ],
)
def test_bad_options_are_refused_when_the_settings_are_read(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BanditSettings(name, options)


@pytest.mark.parametrize("name", ["thompson_beta", "linear_thompson", "uniform"])
def test_negative_seed(name: str) -> None:
    with pytest.raises(ConfigError, match="seed is -1"):
        POLICIES[name]([0.5], 1, seed=-1)


def test_largest() -> None:
    assert largest(np.array([0.2, 0.9, -np.inf, 0.9, 0.9]), 2) == [3, 4]
    assert largest(np.array([0.2, 0.9, -np.inf, 0.1, 0.9]), 3) == [0, 1, 4]
