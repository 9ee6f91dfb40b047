"""The facts stated by a long answer, and the check of blocks against them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

FACTS_PER_STEP = 2
"""Maximum number of facts remembered per accepted block."""


@dataclass(frozen=True)
class GatedStep:
    """Decision of the fact check for a step.

    Args:
        chosen: index of the candidate that continues the answer.
        consistent: whether it agrees with the facts; False if no candidate does.
    """

    chosen: int
    consistent: bool


def gate(scores: Sequence[float], contradicting: Collection[int]) -> GatedStep:
    """Return the best candidate that contradicts no remembered fact, or the best of all if each does.

    Args:
        scores: one per candidate; of equal ones the first is tried first.
        contradicting: indices of the candidates that contradict a fact.

    Example:
        >>> gate([1.0, 3.0, 2.0], contradicting={1})
        GatedStep(chosen=2, consistent=True)

    Source: LongDPO, `base_env.py::step` (which may append another block than the tree selected, or two, and falls back
    to the first candidate).
    """
    ranked = sorted(range(len(scores)), key=lambda i: -scores[i])
    valid = next((i for i in ranked if i not in contradicting), None)
    return GatedStep(ranked[0], False) if valid is None else GatedStep(valid, True)


def remembered(facts: Sequence[str], step: GatedStep) -> list[str]:
    """Return the facts of the chosen block to remember: the first two, or none if the block is inconsistent.

    Example:
        >>> remembered(["a", "b", "c"], GatedStep(chosen=0, consistent=True))
        ['a', 'b']
    """
    return list(facts[:FACTS_PER_STEP]) if step.consistent else []
