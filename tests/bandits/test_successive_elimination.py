from __future__ import annotations

import math

import pytest

from longmab_pl.bandits.successive_elimination import SuccessiveElimination


def test_radius_by_hand() -> None:
    policy = SuccessiveElimination([0.5] * 3, top_k=1, delta=0.2, radius_scale=0.5)
    policy.update([0], 0.5)
    one, two = (0.5 * math.sqrt(math.log(4 * 3 * n * n / 0.2) / n) for n in (1, 2))
    assert policy.radius() == pytest.approx([two, one, one])


def test_every_arm_in_play_has_its_turn_best_scores_first() -> None:
    policy = SuccessiveElimination([0.1, 0.6, 0.3, 0.5, 0.4], top_k=2, radius_scale=1.0)
    plays = []
    for _ in range(5):
        plays.append(policy.select())
        policy.update(plays[-1], 0.5)
    assert plays[:2] == [[1, 3], [2, 4]]
    assert 0 in plays[2]
    assert policy.pulls.tolist() == [2] * 5


def test_elimination_order() -> None:
    means = [0.9, 0.5, 0.1, 0.7]
    policy = SuccessiveElimination([0.5] * 4, top_k=1, radius_scale=0.3)
    left: list[int] = []
    for _ in range(400):
        (arm,) = policy.select()
        assert arm in policy.active
        policy.update([arm], means[arm])
        left += [a for a in range(4) if a not in policy.active and a not in left]
    assert left == [2, 1, 3]
    assert policy.active == [0]
    assert policy.select() == [0]


def test_elimination_happens_exactly_at_the_bound() -> None:
    policy = SuccessiveElimination([0.5, 0.5], top_k=1, radius_scale=0.3)
    rounds = 0
    while len(policy.active) == 2:
        for arm, reward in ((0, 1.0), (1, 0.0)):
            assert policy.active == [0, 1]
            policy.update([arm], reward)
        rounds += 1

    def apart(m: int) -> bool:
        n = m + 1  # the pseudo-observation
        radius = 0.3 * math.sqrt(math.log(4 * 2 * n * n / 0.1) / n)
        return (0.5 + 0) / n + radius < (0.5 + m) / n - radius

    assert rounds == next(m for m in range(1, 100) if apart(m)) > 1


def test_nothing_leaves_inside_a_turn_and_top_k_arms_stay() -> None:
    policy = SuccessiveElimination([0.5] * 5, top_k=3, radius_scale=0.01)
    policy.update([0, 1, 2], 1.0)
    assert policy.active == [0, 1, 2, 3, 4]
    policy.update([3, 4], 0.0)
    assert policy.active == [0, 1, 2]
    for _ in range(20):
        assert policy.select() == [0, 1, 2]
        policy.update([0, 1, 2], 0.0)


def test_the_papers_radius_drops_nothing_in_thirty_rounds() -> None:
    policy = SuccessiveElimination([0.5] * 12, top_k=4, radius_scale=1.0)
    for _ in range(30):
        chosen = policy.select()
        policy.update(chosen, float(0 in chosen))
    assert policy.active == list(range(12))
