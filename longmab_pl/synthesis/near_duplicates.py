"""Questions that ask the same again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from longmab_pl.rewards.lenient_match import normalize_lenient
from longmab_pl.synthesis.candidates import Candidate


def near_duplicates(candidates: Sequence[Candidate], similarity: float) -> frozenset[str]:
    """Return the ids of the questions that are too similar to an earlier one.

    Compared are questions about the same chunk and questions with the same answer, by the share of their words that are
    equal. Questions with the same words and different answers in different chunks are ambiguous: all of them are
    returned.

    Args:
        candidates: questions in the order in which they have precedence.
        similarity: F1 of two questions' words from which they are near-duplicates, in (0, 1].
    """
    words = {candidate.id: Counter(normalize_lenient(candidate.question).split()) for candidate in candidates}
    dropped = set(_ambiguous(candidates))
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for candidate in candidates:
        if candidate.id in dropped:
            continue
        own = [("chunk", candidate.chunk.key), ("answer", normalize_lenient(candidate.answer))]
        earlier = {other for group in own for other in groups[group]}
        if any(_similarity(words[candidate.id], words[other]) >= similarity for other in earlier):
            dropped.add(candidate.id)
            continue
        for group in own:
            groups[group].append(candidate.id)
    return frozenset(dropped)


def _ambiguous(candidates: Sequence[Candidate]) -> list[str]:
    by_question: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_question[normalize_lenient(candidate.question)].append(candidate)
    return [
        candidate.id
        for same in by_question.values()
        if len({one.chunk.key for one in same}) > 1 and len({normalize_lenient(one.answer) for one in same}) > 1
        for candidate in same
    ]


def _similarity(one: Counter[str], other: Counter[str]) -> float:
    shared = (one & other).total()
    return 2 * shared / max(one.total() + other.total(), 1)
