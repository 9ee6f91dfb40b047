from __future__ import annotations

import numpy as np
import pytest

from longmab_pl.evaluation.statistics import bootstrap_interval, paired_bootstrap, resampled_means


def test_interval_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(3).normal(0.4, 0.2, 2000)
    low, high = bootstrap_interval([values], resamples=4000)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - error, abs=6e-4)
    assert high == pytest.approx(values.mean() + error, abs=6e-4)


def test_interval_is_seeded() -> None:
    values = [0.0, 1.0, 1.0, 0.5, 0.0]
    assert bootstrap_interval([values], seed=1) == bootstrap_interval([values], seed=1)
    draws = [resampled_means(np.asarray(values), 50, np.random.default_rng(seed)).tolist() for seed in (1, 2)]
    assert draws[0] != draws[1]


def test_macro_interval_weighs_groups_alike_and_resamples_within_them() -> None:
    # Without variance within the groups nothing can vary, however different the groups and their sizes are.
    assert bootstrap_interval([[1.0] * 3, [0.0] * 300]) == (0.5, 0.5)


def test_means_do_not_depend_on_how_the_draws_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(7.0)
    whole = resampled_means(values, 100, np.random.default_rng(0))
    monkeypatch.setattr("longmab_pl.evaluation.statistics._DRAWS_AT_ONCE", 70)
    assert np.array_equal(whole, resampled_means(values, 100, np.random.default_rng(0)))


def test_paired_test_sees_a_small_difference_that_unpaired_intervals_hide() -> None:
    generator = np.random.default_rng(0)
    first = generator.uniform(0, 100, 300)
    second = first + generator.normal(2, 5, 300)
    test = paired_bootstrap([first], [second])
    assert test.difference == pytest.approx((second - first).mean())
    assert test.low < test.difference < test.high
    assert test.low > 0
    assert test.p_value < 0.01
    assert bootstrap_interval([second])[0] < first.mean()


def test_p_value_is_uniform_when_there_is_no_difference() -> None:
    generator = np.random.default_rng(5)
    p_values = [
        paired_bootstrap([generator.normal(size=60)], [generator.normal(size=60)], resamples=300).p_value
        for _ in range(300)
    ]
    assert 0.02 < np.mean(np.asarray(p_values) < 0.05) < 0.09
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)


def test_equal_results_are_not_a_difference() -> None:
    test = paired_bootstrap([[1.0, 0.0, 50.0]], [[1.0, 0.0, 50.0]])
    assert (test.difference, test.low, test.high, test.p_value, test.n) == (0.0, 0.0, 0.0, 1.0, 3)
