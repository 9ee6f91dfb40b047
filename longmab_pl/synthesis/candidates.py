"""A question that a model has written about a chunk, and why it is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from longmab_pl.synthesis.documents import DocumentChunk

MALFORMED = "not a question with a short answer"
NOT_IN_CHUNK = "answer not in the chunk"
GIVEN_AWAY = "question holds its answer"
POINTS_TO_TEXT = "question points to the text"
NAMES_NOTHING = "question names nothing"
DUPLICATE = "near-duplicate"
KNOWN = "answered without the chunk"
UNANSWERED = "not answered from the chunk"
FAILED = "could not be asked"

REASONS = (
    MALFORMED,
    NOT_IN_CHUNK,
    GIVEN_AWAY,
    POINTS_TO_TEXT,
    NAMES_NOTHING,
    DUPLICATE,
    KNOWN,
    UNANSWERED,
    FAILED,
)
"""Why candidates are left out, in the order of the filters."""


@dataclass(frozen=True)
class Candidate:
    """A question that a model has written.

    Args:
        chunk: the chunk that it was written about.
        number: which of the chunk's samples it is, from 0.
        question: the question; "" if the reply holds none.
        answer: its answer; "" likewise.
        left_out: why it is not kept, one of `REASONS`; None: it is kept so far.
        known: share of the answers without the chunk that hold its answer; None: not asked.
        agreement: share of the answers from the chunk that hold its answer; None: not asked.
    """

    chunk: DocumentChunk
    number: int
    question: str
    answer: str
    left_out: str | None = None
    known: float | None = None
    agreement: float | None = None

    @property
    def id(self) -> str:
        """The same for the same chunk's text and sample, whatever other documents there are."""
        return f"{self.chunk.key}-{self.number}"

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as JSON values: a line of `candidates.jsonl`."""
        return {
            "id": self.id,
            "document": self.chunk.document,
            "start": self.chunk.start,
            "question": self.question,
            "answer": self.answer,
            "left_out": self.left_out,
            "known": self.known,
            "agreement": self.agreement,
            "chunk": self.chunk.text,
        }
