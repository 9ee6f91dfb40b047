from __future__ import annotations

import numpy as np
import pytest

from longmab_pl.bandits.thompson_beta import ThompsonBeta


def test_draws_follow_the_beta_posterior() -> None:
    policy = ThompsonBeta([0.5, 0.8], top_k=1, seed=0, prior_weight=2.0)
    for reward in (1.0, 0.5, 0.75):
        policy.update([0], reward)
    # Beta(2 * 0.5 + 2.25, 2 * 0.5 + 0.75) and Beta(1.6, 0.4)
    draws = np.stack([policy.index() for _ in range(20_000)])
    a, b = np.array([3.25, 1.6]), np.array([1.75, 0.4])
    variance = a * b / ((a + b) ** 2 * (a + b + 1))
    np.testing.assert_allclose(policy.values, a / (a + b))
    np.testing.assert_allclose(draws.mean(0), a / (a + b), atol=4 * np.sqrt(variance.max() / 20_000))
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.05)


def test_bernoulli_rule_credits_zero_or_one_with_the_right_mean() -> None:
    policy = ThompsonBeta([0.5], top_k=1, seed=1, update_rule="bernoulli")
    for _ in range(4000):
        policy.update([0], 0.3)
    successes = policy.values[0] * 4001 - 0.5
    assert successes == pytest.approx(round(successes), abs=1e-6)
    assert successes / 4000 == pytest.approx(0.3, abs=4 * (0.21 / 4000) ** 0.5)


def test_it_settles_on_the_best_arms() -> None:
    policy = ThompsonBeta([0.5] * 8, top_k=2, seed=2)
    late: list[int] = []
    for t in range(600):
        chosen = policy.select()
        # semi-separable rewards: arms 3 and 6 carry the reward
        policy.update(chosen, sum(arm in (3, 6) for arm in chosen) / 2)
        if t >= 500:
            late += chosen
    assert sum(arm in (3, 6) for arm in late) / len(late) > 0.9


def test_extreme_scores_keep_both_parameters_positive() -> None:
    policy = ThompsonBeta([-1.0, 0.0, 1.0, 2.0], top_k=1, seed=0)
    assert policy.values.tolist() == [0.01, 0.01, 0.99, 0.99]
    for _ in range(50):
        policy.update([0], 0.0)
        policy.update([3], 1.0)
    assert np.isfinite(policy.index()).all()
