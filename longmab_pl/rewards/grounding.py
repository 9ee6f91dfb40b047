"""A reward for naming the passages that hold the evidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from longmab_pl.data.numbering import evidence_numbers, named_passages, passage_texts
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.base import RewardContext, Score
from longmab_pl.rewards.lenient_match import contains_words, normalize_lenient

_LINE = re.compile(r"^[\s*_#>]*evidence[*_]*:(.*)$", re.IGNORECASE | re.MULTILINE)

UNKNOWN = "no passage is known to hold the evidence"


@dataclass(frozen=True)
class Grounding:
    """The F1 of the passages that a response names against those that hold the evidence.

    With N the named passages and E those with evidence, precision is |N and E| / |N|, recall |N and E| / |E|, and the
    value their harmonic mean. Where nothing in the context holds the answer, the value is 1 if no passage is named,
    else 0. Parts are `precision`, `recall` and `named`, the number of named passages.

    Named are the numbers in brackets in the last line `Evidence: ...`, or without such a line in the whole response;
    an initial thought (`<think>...</think>`) does not count. E is what the record says: the synthesizer's evidence, or
    supporting facts of MuSiQue, HotpotQA and 2WikiMultihopQA. For other records these are the passages in which the
    words of a gold answer occur. A record without either is excluded.

    Combine it with `AnswerMatch` in a `WeightedSum`. It sends no requests to an engine. The prompt format must number
    the passages: `longmab_pl.prompts.CiteThenAnswer`.

    Example:
        >>> record = QARecord("r", "Where is Lima?", ("Peru",), "Lima is in Peru.\\n\\nQuito is in Ecuador.")
        >>> record = CiteThenAnswer().numbered(record)
        >>> grounding_scores("Evidence: [1] [2]\\nAnswer: Peru", record)["precision"]
        0.5
    """

    name: ClassVar[str] = "grounding"
    engines: ClassVar[tuple[str, ...]] = ()
    needs_embedder: ClassVar[bool] = False
    needs_numbered_passages: ClassVar[bool] = True

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        yield from ()  # a generator without requests
        scores = []
        for text in responses:
            found = grounding_scores(text, record)
            if found is None:
                scores.append(Score(0.0, excluded=UNKNOWN))
            else:
                scores.append(Score(found.pop("f1"), found))
        return scores


def grounding_scores(text: str, record: QARecord) -> dict[str, float] | None:
    """Return `f1`, `precision`, `recall` and `named` of a response; None if no passage is known to hold the evidence.

    Args:
        text: the whole response.
        record: the record with numbered passages.
    """
    evidence = holding_evidence(record)
    if evidence is None:
        return None
    named = named_in_response(text)
    if not evidence:
        right = float(not named)
        return {"f1": right, "precision": right, "recall": right, "named": float(len(named))}
    shared = len(named & evidence)
    precision, recall = shared / max(len(named), 1), shared / len(evidence)
    f1 = 2 * shared / (len(named) + len(evidence))
    return {"f1": f1, "precision": precision, "recall": recall, "named": float(len(named))}


def named_in_response(text: str) -> frozenset[int]:
    """Return the passages that a response names: in its last line `Evidence:`, or anywhere if it has none.

    Example:
        >>> sorted(named_in_response("[4] is about Quito.\\nEvidence: [1, 2]\\nAnswer: Peru"))
        [1, 2]
    """
    said = without_thought(text)
    lines = _LINE.findall(said)
    return named_passages(lines[-1] if lines else said)


@lru_cache(maxsize=64)
def holding_evidence(record: QARecord) -> frozenset[int] | None:
    """Return the numbers of the passages that hold a record's evidence; empty if none does, None if it is not known."""
    known = evidence_numbers(record)
    if known is not None:
        return known
    golds = [normal for normal in map(normalize_lenient, record.answers) if normal]
    found = frozenset(
        number
        for number, passage in enumerate(map(normalize_lenient, passage_texts(record)), start=1)
        if any(contains_words(passage, gold) for gold in golds)
    )
    return found or None
