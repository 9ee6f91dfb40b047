"""What reports say of a bandit's trace."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pull_entropy(pulls: Sequence[int]) -> float:
    """Return the entropy of how the pulls were spread over the arms, as a share of its maximum, in [0, 1].

    Args:
        pulls: how often each arm was played, [arms].

    Returns:
        1 for an even spread, 0 for a single arm, fewer than two arms or no pull.
    """
    total = sum(pulls)
    if total == 0 or len(pulls) < 2:
        return 0.0
    return -sum(n / total * math.log(n / total) for n in pulls if n) / math.log(len(pulls))
