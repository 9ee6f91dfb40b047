"""What every policy must do at the ends of its range: many arms, few arms, ties, a reward for each arm."""

from __future__ import annotations

import numpy as np
import pytest

from longmab_pl.bandits import POLICIES, BanditPolicy, BanditSettings
from longmab_pl.errors import DataError

MEANS = ["ucb1", "ucb_tuned", "kl_ucb", "moss", "thompson_beta", "successive_elimination", "uniform"]


def start(name: str, scores: np.ndarray | list[float], top_k: int, seed: int = 1) -> BanditPolicy:
    return BanditSettings(name).start(scores, top_k, seed)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(("arms", "top_k"), [(1000, 4), (60, 4), (6, 4), (1, 1)])
def test_thirty_rounds_of_any_number_of_arms(name: str, arms: int, top_k: int) -> None:
    random = np.random.default_rng(arms)
    policy = start(name, random.random(arms), top_k)
    for _ in range(30):
        played = policy.select()
        assert len(played) == len(set(played)) == top_k
        assert played == sorted(played)
        assert 0 <= played[0] <= played[-1] < arms
        policy.update(played, float(random.random()))
    assert int(policy.pulls.sum()) == 30 * top_k
    assert np.isfinite(policy.values).all()


@pytest.mark.parametrize("name", ["ucb1", "ucb_tuned", "kl_ucb", "moss", "successive_elimination"])
def test_of_equal_arms_the_later_is_played(name: str) -> None:
    assert start(name, [0.5] * 6, 4).select() == [2, 3, 4, 5]
    assert start(name, [0.5, 0.5, 0.9, 0.5], 2).select() == [2, 3]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("scores", [[0.0] * 8, [1.0] * 8, [-0.3, 1.7] * 4])
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_scores_and_rewards_at_the_ends_of_the_scale(name: str, scores: list[float], reward: float) -> None:
    policy = start(name, scores, 3)
    for _ in range(30):
        policy.update(policy.select(), reward)
    assert np.isfinite(policy.values).all()
    assert int(policy.pulls.sum()) == 90


LEARNING = ["ucb1", "ucb_tuned", "kl_ucb", "moss", "thompson_beta", "linear_thompson"]


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("top_k", [1, 3])
def test_the_arm_that_pays_is_played_most_when_rewards_are_credited_to_it(name: str, top_k: int) -> None:
    random = np.random.default_rng(0)
    policy = start(name, [0.3] * 12, top_k)
    for _ in range(150):
        played = policy.select()
        policy.update(played, [float(random.random() < (0.9 if arm == 7 else 0.05)) for arm in played])
    assert int(np.argmax(policy.pulls)) == 7
    assert int(np.argmax(policy.values)) == 7


@pytest.mark.parametrize("name", MEANS)
def test_equal_rewards_for_each_arm_are_one_reward_for_all(name: str) -> None:
    scores = np.random.default_rng(5).random(9)
    shared, by_arm = start(name, scores, 4), start(name, scores, 4)
    for reward in np.random.default_rng(6).random(20):
        played = shared.select()
        assert by_arm.select() == played
        shared.update(played, float(reward))
        by_arm.update(played, [float(reward)] * len(played))
    assert by_arm.values.tolist() == shared.values.tolist()


@pytest.mark.parametrize("name", MEANS)
def test_each_arm_learns_from_its_own_reward(name: str) -> None:
    policy = start(name, [0.5] * 5, 3)
    policy.update([1, 4, 2], np.array([1.0, 0.25, 0.0]))
    assert policy.values.tolist() == pytest.approx([0.5, 0.75, 0.25, 0.5, 0.375])
    assert policy.pulls.tolist() == [0, 1, 1, 0, 1]


def test_linear_thompson_learns_from_rewards_by_arm_as_from_single_plays() -> None:
    by_arm, single = (start("linear_thompson", [0.2, 0.4, 0.6, 0.8], 2) for _ in range(2))
    by_arm.update([0, 3], [0.1, 0.9])
    for arm, reward in ((0, 0.1), (3, 0.9)):
        single.update([arm], reward)
    assert by_arm.values == pytest.approx(single.values)
    assert by_arm.pulls.tolist() == single.pulls.tolist() == [1, 0, 0, 1]
    shared = start("linear_thompson", [0.2, 0.4, 0.6, 0.8], 2)
    shared.update([0, 3], 0.5)
    assert shared.values[0] != pytest.approx(by_arm.values[0]), "one reward for both says less"


def test_a_coin_for_each_arm_with_bernoulli_updates() -> None:
    settings = BanditSettings("thompson_beta", {"update_rule": "bernoulli"})
    shared, by_arm = settings.start([0.5] * 400, 400, 3), settings.start([0.5] * 400, 400, 3)
    shared.update(range(400), 0.5)
    assert len(set(shared.values.tolist())) == 1
    by_arm.update(range(400), [0.5] * 400)
    assert set(by_arm.values.tolist()) == {0.25, 0.75}
    assert 0.4 < by_arm.values.mean() < 0.6


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ([0.5], "1 rewards for 2 played arms"),
        ([0.5, 0.5, 0.5], "3 rewards for 2 played arms"),
        ([0.5, float("nan")], "must be a finite number"),
        ([[0.5, 0.5]], "2 rewards for 2 played arms; give one for all or one for each"),
        (["high", 0.5], "must be a number"),
    ],
)
def test_bad_rewards_by_arm_change_nothing(name: str, reward: list[float], message: str) -> None:
    policy = start(name, [0.2, 0.4, 0.6], 2)
    before = policy.values.tolist()
    with pytest.raises(DataError, match=message):
        policy.update([0, 2], reward)
    assert policy.values.tolist() == before
    assert policy.pulls.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["kl_ucb", "thompson_beta"])
@pytest.mark.parametrize("reward", [[0.5, 1.1], [-0.1, 0.5]])
def test_policies_for_unit_rewards_refuse_others_of_a_single_arm(name: str, reward: list[float]) -> None:
    with pytest.raises(DataError, match=r"rewards in \[0, 1\]"):
        start(name, [0.2, 0.4, 0.6], 2).update([0, 2], reward)
