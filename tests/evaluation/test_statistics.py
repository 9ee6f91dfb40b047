from __future__ import annotations

import numpy as np
import pytest

from longmab_pl.evaluation.statistics import bootstrap_interval, paired_test, wilson_interval


def test_interval_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(3).normal(0.4, 0.2, 2000)
    low, high = bootstrap_interval([values], resamples=4000)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - error, abs=6e-4)
    assert high == pytest.approx(values.mean() + error, abs=6e-4)


def test_interval_is_seeded() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_interval([values], seed=1) == bootstrap_interval([values], seed=1)
    assert bootstrap_interval([values], seed=1) != bootstrap_interval([values], seed=2)


def test_macro_interval_weighs_groups_alike_and_resamples_within_them() -> None:
    # Without variance within the groups nothing can vary, however different the groups and their sizes are.
    assert bootstrap_interval([[1.0] * 3, [0.0] * 300]) == (0.5, 0.5)
    # The error of the mean of two means is half the root of their summed squares, however far apart they are.
    generator = np.random.default_rng(1)
    one, other = generator.normal(0, 1, 400), generator.normal(50, 2, 200)
    low, high = bootstrap_interval([one, other], resamples=10_000)
    error = np.sqrt(one.var() / 400 + other.var() / 200) / 2
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.04)


def test_a_group_of_one_record_does_not_vary() -> None:
    assert bootstrap_interval([[0.25]]) == (0.25, 0.25)
    low, high = bootstrap_interval([[1.0], [0.0, 1.0]])
    assert (low, high) == (0.5, 1.0)


def test_interval_is_the_same_however_the_draws_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=7)
    whole = bootstrap_interval([values], resamples=100)
    monkeypatch.setattr("longmab_pl.evaluation.statistics._DRAWS_AT_ONCE", 70)
    assert bootstrap_interval([values], resamples=100) == pytest.approx(whole, abs=1e-12)


def test_paired_test_sees_a_small_difference_that_unpaired_intervals_hide() -> None:
    generator = np.random.default_rng(0)
    first = generator.uniform(0, 100, 300)
    second = first + generator.normal(2, 5, 300)
    test = paired_test([first], [second])
    assert test.difference == pytest.approx((second - first).mean())
    assert test.low < test.difference < test.high
    assert test.low > 0
    assert test.p_value < 0.01
    assert bootstrap_interval([second])[0] < first.mean()


def test_p_value_of_few_records_is_exact() -> None:
    # Of the 2^4 ways to exchange, only the observed one and its mirror image are as far: 2 / 16.
    assert paired_test([[0.0, 0.0, 0.0, 0.0]], [[1.0, 2.0, 3.0, 4.0]]).p_value == pytest.approx(2 / 16)
    # Equal records cannot be told apart however they are exchanged: (1, 1, 0) is reached by 2 of 2^3, as is its mirror.
    assert paired_test([[0.0, 0.0, 5.0]], [[1.0, 1.0, 5.0]]).p_value == pytest.approx(2 * 2 / 8)


def test_macro_test_weighs_tasks_alike() -> None:
    # One task of one record against one of three: its record counts as much as the three together.
    test = paired_test([[0.0], [0.0, 0.0, 0.0]], [[6.0], [1.0, 1.0, 1.0]])
    assert test.difference == pytest.approx(3.5)
    assert test.p_value == pytest.approx(2 / 16)
    assert test.n == 4


def test_p_value_is_uniform_when_there_is_no_difference() -> None:
    generator = np.random.default_rng(5)
    p_values = [
        paired_test([generator.normal(size=60)], [generator.normal(size=60)], resamples=300).p_value for _ in range(300)
    ]
    assert 0.02 < np.mean(np.asarray(p_values) < 0.05) < 0.09
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)


def test_equal_results_are_not_a_difference() -> None:
    test = paired_test([[1.0, 0.0, 50.0]], [[1.0, 0.0, 50.0]])
    assert (test.difference, test.low, test.high, test.p_value, test.n) == (0.0, 0.0, 0.0, 1.0, 3)


def test_wilson_interval_by_the_formula() -> None:
    # n 10, share 0.3, z 1.96: center (0.3 + z^2 / 20) / (1 + z^2 / 10), half width as in Wilson 1927.
    low, high = wilson_interval(3, 10)
    assert (low, high) == pytest.approx((0.1078, 0.6032), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0.0
