from __future__ import annotations

import pytest

from longmab_pl.strategies.bandit.trace import pull_entropy


@pytest.mark.parametrize(
    ("pulls", "entropy"), [([5, 5, 5], 1.0), ([9, 0, 0], 0.0), ([], 0.0), ([4], 0.0), ([2, 2, 0, 0], 0.5)]
)
def test_pull_entropy(pulls, entropy):
    assert pull_entropy(pulls) == pytest.approx(entropy)
