"""Weak chosen blocks, and the suggestions by which they are written again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from longmab_pl.prompts.blocks import SUGGESTIONS_FOLLOW
from longmab_pl.rewards.llm_judge.ratings import Ratings, parse_ratings

PRINCIPLES = tuple(f"principle{i}" for i in range(1, 8))
"""What a block is judged by: free of factual errors; meets purpose and needs; harmless; sound in form and logic; varied
and comprehensive; pleasant to read; insightful."""


@dataclass(frozen=True)
class Suggestion:
    """A judge's advice on one block.

    Args:
        group: the prompt.
        depth: the step, from 1.
        text: one or two sentences.
        confidence: 1 to 5; 0 where the judge gave none.
    """

    group: int
    depth: int
    text: str
    confidence: float


@dataclass(frozen=True)
class ChosenBlock:
    """The chosen block of a step.

    Args:
        group: the prompt.
        depth: the step, from 1.
        instruction: what it answers; never with suggestions.
        text: the block.
    """

    group: int
    depth: int
    instruction: str
    text: str


def parse_principles(reply: str) -> Ratings | None:
    """Return the seven ratings in a judge's reply, or None.

    Example:
        >>> parse_principles("{" + ", ".join(f'"Principle{i}": 4' for i in range(1, 8)) + "}").mean
        4.0

    Source: LongDPO, `reason/inference/value.py` (which reads the vectors that it asks for as 2.5 each) and `refine.py`.
    """
    return parse_ratings(reply, PRINCIPLES)


def better_principles(chosen: Mapping[str, float], candidate: Mapping[str, float]) -> list[int]:
    """Return the positions in `PRINCIPLES` where a candidate beats the chosen block; both must be rated there.

    Example:
        >>> better_principles({"principle1": 2, "principle3": 4}, {"principle1": 3, "principle2": 5, "principle3": 4})
        [0]

    Source: LongDPO, `MCTS/refine.py`.
    """
    return [i for i, name in enumerate(PRINCIPLES) if name in chosen and candidate.get(name, 0) > chosen[name]]


def needs_refinement(score: float | None, threshold: float) -> bool:
    """Whether a chosen block is weak enough to be written again: its score is below the threshold.

    Args:
        score: its mean rating, or its best value; None (no verdict) is no reason to refine.
        threshold: 2.5 in the paper, on the mean rating.

    Source: LongDPO, `MCTS/filter.py` (which looks for the score under a name that nothing writes).
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
    """Return an instruction with suggestions behind it, after a short lead-in; unchanged without any.

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
    """Return the chosen blocks, each replaced by the last refined one of its prompt and step.

    The instruction stays that of the block: suggestions are not trained on.

    Source: LongDPO, `refine.py`.
    """
    texts = {(block.group, block.depth): block.text for block in refined}
    return [replace(block, text=texts.get((block.group, block.depth), block.text)) for block in blocks]
