"""Pairs of blocks: the rejected block of a step, and the blocks that end a turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SWAP_PROBABILITY = 0.3


@dataclass(frozen=True)
class Step:
    """The place of a chosen block.

    Args:
        group: index of the prompt.
        depth: the step, from 1.
        finished: whether the model ended its answer with this block; False if the block was cut at its length.
    """

    group: int
    depth: int
    finished: bool


def other_candidates(chosen: str, candidates: Iterable[str]) -> list[str]:
    """Return the candidates that differ from the chosen block; the rejected one is drawn from them.

    Source: LongDPO, `base_env.py::save_step`.
    """
    return [text for text in candidates if text != chosen]


def rejected_block(values: Sequence[float], chosen: int, margin: float = 0.0) -> int | None:
    """Return the index of the candidate of lowest value if the chosen one exceeds it by more than `margin`; else None.

    Example:
        >>> rejected_block([3.0, 1.0, 2.9], chosen=0), rejected_block([3.0, 2.9], chosen=0, margin=0.5)
        (1, None)

    Source: ours. LongDPO's random rule also takes blocks that are as good as the chosen one.
    """
    others = [i for i in range(len(values)) if i != chosen]
    worst = min(others, key=lambda i: values[i], default=None)
    return worst if worst is not None and values[chosen] - values[worst] > margin else None


def swapped_words(text: str, draws: Iterable[float]) -> str | None:
    """Return a text with neighboring words swapped, from left to right, or None if no draw swaps any.

    The original compares a step's only candidate with such a copy.

    Args:
        text: the block; its white space becomes single spaces.
        draws: uniform in [0, 1), one per pair of neighbors; a draw below `SWAP_PROBABILITY` swaps the pair.

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
    """Return which blocks the end token follows in training: the last of each prompt, if it is finished.

    Example:
        >>> ends_turn([Step(0, 1, False), Step(0, 2, True), Step(1, 1, False)])
        [False, True, False]

    Source: LongDPO, `post_process_mcts.py` (which adds the end token even to a cut last block).
    """
    last: dict[int, int] = {}
    for step in steps:
        last[step.group] = max(step.depth, last.get(step.group, step.depth))
    return [step.finished and step.depth == last[step.group] for step in steps]
