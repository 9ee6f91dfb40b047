from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from longmab_pl.bandits.linear_thompson import LinearThompson


def design(plays: list[list[int]], arms: int) -> npt.NDArray[np.float64]:
    x = np.zeros((len(plays), arms))
    for row, play in zip(x, plays, strict=True):
        row[play] = 1 / len(play)
    return x


def some_plays(arms: int, count: int, seed: int) -> tuple[list[list[int]], npt.NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    plays = [sorted(random.choice(arms, random.integers(1, 5), replace=False).tolist()) for _ in range(count)]
    return plays, random.random(count)


def test_posterior_mean_is_ridge_regression_around_the_scores() -> None:
    scores = np.random.default_rng(0).random(12)
    plays, rewards = some_plays(12, 30, seed=1)
    policy = LinearThompson(scores, 4, arm_std=0.7, noise_std=0.2, offset_std=0)
    for play, reward in zip(plays, rewards, strict=True):
        policy.update(play, float(reward))
    x, penalty = design(plays, 12), (0.2 / 0.7) ** 2
    ridge = scores + np.linalg.solve(x.T @ x + penalty * np.eye(12), x.T @ (rewards - x @ scores))
    np.testing.assert_allclose(policy.values, ridge, rtol=0, atol=1e-10)


def test_posterior_with_an_offset_is_the_closed_form() -> None:
    scores = np.random.default_rng(4).random(9)
    plays, rewards = some_plays(9, 25, seed=5)
    policy = LinearThompson(scores, 4, seed=6, arm_std=0.7, noise_std=0.2, offset_std=0.5, exploration=1)
    for play, reward in zip(plays, rewards, strict=True):
        policy.update(play, float(reward))
    prior = 0.49 * np.eye(9) + 0.25 * np.ones((9, 9))
    x = design(plays, 9)
    covariance = np.linalg.inv(np.linalg.inv(prior) + x.T @ x / 0.04)
    mean = scores + covariance @ x.T @ (rewards - x @ scores) / 0.04
    np.testing.assert_allclose(policy.values, mean, rtol=0, atol=1e-9)

    draws = np.stack([policy.sample() for _ in range(20_000)])
    np.testing.assert_allclose(draws.mean(0), mean, atol=4 * np.sqrt(covariance.max() / 20_000))
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.05 * covariance.diagonal().max())


def test_exploration_scales_the_deviation_from_the_mean() -> None:
    full, half, none = (LinearThompson([0.2, 0.4, 0.9], 1, seed=3, exploration=e) for e in (1.0, 0.5, 0.0))
    for policy in (full, half, none):
        policy.update([0, 2], 0.3)
    deviation = full.sample() - full.values
    assert np.abs(deviation).min() > 1e-3
    np.testing.assert_allclose(half.sample() - half.values, deviation / 2)
    np.testing.assert_allclose(none.sample(), none.values)


def test_it_tells_a_gold_chunk_from_its_neighbors_where_means_per_arm_cannot() -> None:
    policy = LinearThompson([0.3] * 4, 2, arm_std=1.0, noise_std=0.1)
    for play, reward in (([0, 1], 0.9), ([0, 2], 0.9), ([1, 2], 0.0), ([1, 3], 0.0), ([2, 3], 0.0)):
        policy.update(play, reward)
    # A mean per arm gives arms 1 and 2 a third of arm 0's; here they are as useless as arm 3.
    values = policy.values
    assert values[0] > 1.4
    assert np.abs(values[1:]).max() < 0.2


def test_low_rewards_also_lower_the_arms_that_were_never_played() -> None:
    policy = LinearThompson([0.8] * 10, 4)
    for play in ([0, 1, 2, 3], [4, 5, 6, 7]):
        policy.update(play, 0.0)
    assert (policy.values[8:] < 0.5).all()
    apart = LinearThompson([0.8] * 10, 4, offset_std=0)
    apart.update([0, 1, 2, 3], 0.0)
    assert (apart.values[8:] == 0.8).all()


def test_unequal_plays_and_their_order_do_not_matter() -> None:
    plays, rewards = some_plays(7, 15, seed=8)
    forward, backward = (LinearThompson(np.linspace(0, 1, 7), 3) for _ in range(2))
    for play, reward in zip(plays, rewards, strict=True):
        forward.update(play, float(reward))
    for play, reward in zip(plays[::-1], rewards[::-1], strict=True):
        backward.update(play[::-1], float(reward))
    np.testing.assert_allclose(forward.values, backward.values, atol=1e-10)


def test_a_thousand_arms_stay_exact_and_keep_nothing_of_arms_squared() -> None:
    scores = np.random.default_rng(0).random(1000)
    policy = LinearThompson(scores, 4, arm_std=0.5, noise_std=0.2, offset_std=0)
    plays, rewards = [], np.random.default_rng(1).random(60)
    for reward in rewards:
        plays.append(policy.select())
        policy.update(plays[-1], float(reward))
    held = sum(value.nbytes for value in vars(policy).values() if isinstance(value, np.ndarray))
    assert held < 1000 * 8 * 60  # a covariance of the arms alone would be 1000 * 8 * 1000
    x = design(plays, 1000)
    dual = scores + x.T @ np.linalg.solve(x @ x.T + (0.2 / 0.5) ** 2 * np.eye(60), rewards - x @ scores)
    np.testing.assert_allclose(policy.values, dual, atol=1e-9)


@pytest.mark.parametrize("gold", [(3, 11), (0, 19)])
def test_it_settles_on_two_gold_chunks(gold: tuple[int, int]) -> None:
    policy = LinearThompson([0.4] * 20, 4, seed=1, noise_std=0.1)
    random = np.random.default_rng(2)
    late = 0
    for t in range(150):
        chosen = policy.select()
        policy.update(chosen, 0.4 * sum(g in chosen for g in gold) + 0.05 * random.standard_normal())
        late += t >= 100 and all(g in chosen for g in gold)
    assert late >= 45
