"""The candidate blocks of a step: distinct blocks, their probabilities, and the choice of the search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PUCT_BASE = 19652.0
PUCT_INIT = 1.25


@dataclass(frozen=True)
class Candidate:
    """A block that may continue the answer.

    Args:
        text: the block.
        prior: its probability among the candidates, from the mean log-probability of its tokens.
        finish_reason: why generation ended: "stop" or "length".
        terminal: whether it ends the answer.
    """

    text: str
    prior: float
    finish_reason: str
    terminal: bool


def distinct_candidates(
    texts: Sequence[str], mean_logprobs: Sequence[float], finish_reasons: Sequence[str], end: str
) -> list[Candidate]:
    """Return the non-blank blocks without duplicates (the first sample of a text counts), with their priors.

    Args:
        texts: the sampled blocks.
        mean_logprobs: mean log-probability of each block's tokens.
        finish_reasons: one per block.
        end: the text of the token that ends an answer.

    Returns:
        The candidates; empty if all blocks are blank.

    Example:
        >>> [c.prior for c in distinct_candidates(["a", "b", "a", " "], [-1, -1, 0, 0], ["length"] * 4, "<end>")]
        [0.5, 0.5]

    Source: LongDPO, `envs/base_env.py::update_legal_actions`.
    """
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        if text.strip():
            first.setdefault(text, index)
    weights = [math.exp(mean_logprobs[index]) for index in first.values()]
    return [
        Candidate(text, weight / sum(weights), finish_reasons[index], text.endswith(end))
        for (text, index), weight in zip(first.items(), weights, strict=True)
    ]


def puct(
    prior: float,
    parent_visits: int,
    visits: int,
    value_sum: float,
    initial_value: float,
    base: float = PUCT_BASE,
    init: float = PUCT_INIT,
) -> float:
    """Return a child's value with its exploration bonus.

    Args:
        prior: the child's probability.
        parent_visits: number of visits of its parent.
        visits: number of its visits.
        value_sum: sum of the values of its visits.
        initial_value: its value before the first visit.
        base: number of parent visits from which the bonus's weight grows.
        init: weight of the bonus.

    Example:
        >>> puct(0.5, parent_visits=0, visits=0, value_sum=0.0, initial_value=3.0)
        3.0

    Source: LongDPO, `reason/guided_search/tree.py`; the rule of AlphaZero.
    """
    value = value_sum / visits if visits else initial_value
    bonus = math.sqrt(parent_visits) / (1 + visits) * (math.log((parent_visits + base + 1) / base) + init)
    return value + prior * bonus


def block_values(judged: Sequence[Sequence[float]]) -> list[float]:
    """Return each candidate's value: the last of the values of its answer's blocks.

    Args:
        judged: for each candidate, the values of the blocks of the answer that ends with it.

    Example:
        >>> block_values([[2.0, 3.0], [2.0, 4.0]])
        [3.0, 4.0]

    Source: LongDPO, `tree.py` (which shifts the values from the second step on, so that most children get the
    value of another child).
    """
    return [values[-1] for values in judged]
