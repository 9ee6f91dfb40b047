"""Metrics of a bandit's trace, for reports."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pull_entropy(pulls: Sequence[int]) -> float:
    """Return the entropy of the distribution of pulls over the arms, as a share of its maximum, in [0, 1].

    Args:
        pulls: number of plays of each arm, [arms].

    Returns:
        1 for a uniform distribution, 0 if one arm has all pulls, or with fewer than two arms or no pulls.
    """
    total = sum(pulls)
    if total == 0 or len(pulls) < 2:
        return 0.0
    return -sum(n / total * math.log(n / total) for n in pulls if n) / math.log(len(pulls))
