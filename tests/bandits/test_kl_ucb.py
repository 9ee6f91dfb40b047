from __future__ import annotations

import math

import numpy as np
import pytest

from longmab_pl.bandits.kl_ucb import KLUCB, bernoulli_kl, kl_upper_bound


def kl(p: float, q: float) -> float:
    first = 0.0 if p == 0 else p * math.log(p / q)
    return first + (0.0 if p == 1 else (1 - p) * math.log((1 - p) / (1 - q)))


def bisected(p: float, divergence: float) -> float:
    low, high = p, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if middle < 1 and kl(p, middle) <= divergence else (low, middle)
    return low


@pytest.mark.parametrize(("p", "q"), [(0.0, 0.3), (0.2, 0.5), (0.7, 0.9), (1.0, 0.6), (0.4, 0.4)])
def test_divergence(p: float, q: float) -> None:
    assert bernoulli_kl(np.array([p]), np.array([q]))[0] == pytest.approx(kl(p, q), abs=1e-12)


def test_the_bound_solves_the_equation_over_the_whole_range() -> None:
    p, d = (g.ravel() for g in np.meshgrid([0, 1e-9, 0.01, 0.2, 0.5, 0.9, 0.999], [1e-6, 1e-3, 0.05, 0.5, 2, 8]))
    q = kl_upper_bound(p, d)
    expected = np.array([bisected(*pair) for pair in zip(p, d, strict=True)])
    np.testing.assert_allclose(q, expected, rtol=0, atol=1e-9)
    assert (q > p).all()
    inside = q < 1 - 1e-6  # nearer to 1 the divergence is too steep for its own rounding
    np.testing.assert_allclose(bernoulli_kl(p, q)[inside], d[inside], rtol=1e-5)


def test_closed_form_at_mean_zero() -> None:
    # kl(0, q) = -ln(1 - q)
    np.testing.assert_allclose(kl_upper_bound(np.zeros(3), np.array([0.0, 0.1, 3.0])), 1 - np.exp([0.0, -0.1, -3.0]))


def test_edges() -> None:
    bound = kl_upper_bound(np.array([1.0, 0.3, 0.3]), np.array([0.5, 0.0, 100.0]))
    assert bound[0] == 1.0
    assert bound[1] == 0.3
    assert 1 - 1e-11 < bound[2] < 1.0


def test_index_in_round_five() -> None:
    policy = KLUCB([0.5, 0.2], top_k=1, c=3.0)
    policy.update([0], 0.3)
    policy.round = 5
    budget = math.log(5) + 3 * math.log(math.log(5))
    assert policy.index() == pytest.approx([bisected(0.4, budget / 2), bisected(0.2, budget)], abs=1e-9)


def test_a_wider_bound_beats_a_slightly_larger_mean() -> None:
    policy = KLUCB([0.5, 0.45], top_k=1)
    assert policy.select() == [0]
    policy.update([0], 0.5)
    assert policy.select() == [1]  # same round, twice the observations on arm 0


def test_scores_are_clipped_to_probabilities() -> None:
    assert KLUCB([-0.2, 1.4, 0.5], 1).values.tolist() == [0.0, 1.0, 0.5]
