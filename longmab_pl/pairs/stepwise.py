"""Pairs of blocks: what a step's chosen block is compared with, and which blocks end a turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SWAP_PROBABILITY = 0.3


@dataclass(frozen=True)
class Step:
    """The place of a chosen block.

    Args:
        group: the prompt.
        depth: the step, from 1.
        finished: whether the model ended its answer with this block, rather than being cut at the block's length.
    """

    group: int
    depth: int
    finished: bool


def other_candidates(chosen: str, candidates: Iterable[str]) -> list[str]:
    """Return the candidates that differ from the chosen block, among which the rejected one is.

    Source: LongDPO, `base_env.py::save_step`.
    """
    return [text for text in candidates if text != chosen]


def rejected_block(values: Sequence[float], chosen: int, margin: float = 0.0) -> int | None:
    """Return the candidate of the lowest value, if the chosen one is better by more than `margin`; else None.

    Example:
        >>> rejected_block([3.0, 1.0, 2.9], chosen=0), rejected_block([3.0, 2.9], chosen=0, margin=0.5)
        (1, None)

    Source: the rule in place of LongDPO's random one, which takes blocks that are as good as the chosen.
    """
    others = [i for i in range(len(values)) if i != chosen]
    worst = min(others, key=lambda i: values[i], default=None)
    return worst if worst is not None and values[chosen] - values[worst] > margin else None


def swapped_words(text: str, draws: Iterable[float]) -> str | None:
    """Return a text with neighboring words swapped, from left to right, or None where no draw swaps any.

    The original compares a step's only candidate with such a copy.

    Args:
        text: the block; its white space becomes single blanks.
        draws: uniform in [0, 1), one a pair of neighbors; below `SWAP_PROBABILITY` it is swapped.

    Example:
        >>> swapped_words("one two three", [0.1, 0.1]), swapped_words("one two", [0.9])
        ('two three one', None)

    Source: LongDPO, `base_env.py`.
    """
    words = text.split()
    for i, draw in zip(range(len(words) - 1), draws, strict=False):
        if draw < SWAP_PROBABILITY:
            words[i], words[i + 1] = words[i + 1], words[i]
    return " ".join(words) if words != text.split() else None


def ends_turn(steps: Sequence[Step]) -> list[bool]:
    """Return which blocks are followed by the end token in training: the last of each prompt, if it is finished.

    Example:
        >>> ends_turn([Step(0, 1, False), Step(0, 2, True), Step(1, 1, False)])
        [False, True, False]

    Source: LongDPO, `post_process_mcts.py` (which closes the last block of each prompt, cut ones too).
    """
    last: dict[int, int] = {}
    for step in steps:
        last[step.group] = max(step.depth, last.get(step.group, step.depth))
    return [step.finished and step.depth == last[step.group] for step in steps]
