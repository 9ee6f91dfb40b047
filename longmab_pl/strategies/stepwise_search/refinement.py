"""Refinement of weak chosen blocks with a judge's suggestions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from longmab_pl.prompts.blocks import SUGGESTIONS_FOLLOW
from longmab_pl.rewards.principles import PRINCIPLES


@dataclass(frozen=True)
class Suggestion:
    """A judge's advice on one block.

    Args:
        group: index of the prompt.
        depth: the step, from 1.
        text: one or two sentences.
        confidence: 1 to 5; 0 if the judge gave none.
    """

    group: int
    depth: int
    text: str
    confidence: float


@dataclass(frozen=True)
class ChosenBlock:
    """The chosen block of a step.

    Args:
        group: index of the prompt.
        depth: the step, from 1.
        instruction: the instruction that it answers, without suggestions.
        text: the block.
    """

    group: int
    depth: int
    instruction: str
    text: str


def better_principles(chosen: Mapping[str, float], candidate: Mapping[str, float]) -> list[int]:
    """Return the positions in `PRINCIPLES` where a candidate beats the chosen block; both must be rated there.

    Example:
        >>> better_principles({"principle1": 2, "principle3": 4}, {"principle1": 3, "principle2": 5, "principle3": 4})
        [0]

    Source: LongDPO, `MCTS/refine.py`.
    """
    return [i for i, name in enumerate(PRINCIPLES) if name in chosen and candidate.get(name, 0) > chosen[name]]


def needs_refinement(score: float | None, threshold: float) -> bool:
    """Return whether a chosen block needs refinement: its score is below the threshold.

    Args:
        score: its mean rating, or its best value; None (no verdict) gives False.
        threshold: 2.5 in the paper, for the mean rating.

    Source: LongDPO, `MCTS/filter.py` (which reads the score under a name that is never written).
    """
    return score is not None and score < threshold


def pick_suggestions(suggestions: Iterable[Suggestion], group: int, depth: int, limit: int) -> list[str]:
    """Return the texts of a block's suggestions with the highest confidence, at most `limit`; equal ones in order.

    Example:
        >>> pick_suggestions([Suggestion(0, 1, "a", 2), Suggestion(0, 1, "b", 4), Suggestion(0, 2, "c", 5)], 0, 1, 1)
        ['b']

    Source: LongDPO, `refine.py` (which ignores the depth, so that all blocks of a prompt get the same advice).
    """
    own = [suggestion for suggestion in suggestions if (suggestion.group, suggestion.depth) == (group, depth)]
    return [suggestion.text for suggestion in sorted(own, key=lambda s: -s.confidence)[:limit]]


def with_suggestions(instruction: str, suggestions: Sequence[str]) -> str:
    """Return an instruction followed by a short introduction and suggestions; unchanged without suggestions.

    Example:
        >>> with_suggestions("Write a story.", [" Vary words. ", "Add detail."])
        'Write a story. Please keep this advice in mind: Vary words. Add detail.'

    Source: LongDPO, `refine.py`.
    """
    if not suggestions:
        return instruction
    text = f"{instruction.strip()} {SUGGESTIONS_FOLLOW} {suggestions[0].strip()}"
    for suggestion in suggestions[1:]:
        text = f"{text.strip()} {suggestion.strip()}"
    return text


def merge_refined(blocks: Sequence[ChosenBlock], refined: Iterable[ChosenBlock]) -> list[ChosenBlock]:
    """Return the chosen blocks, each replaced by the last refined block of its prompt and step.

    The block's own instruction is kept, because suggestions are not trained on.

    Source: LongDPO, `refine.py`.
    """
    texts = {(block.group, block.depth): block.text for block in refined}
    return [replace(block, text=texts.get((block.group, block.depth), block.text)) for block in blocks]
