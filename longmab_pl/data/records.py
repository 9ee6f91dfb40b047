"""The question-answering record."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class QARecord:
    """A question about a long context with its gold answers.

    Args:
        id: unique in its file.
        question: what is asked.
        answers: one or more gold answers (non-empty strings).
        context: the long text.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    context: str

    @property
    def answer(self) -> str:
        """The first gold answer, which the probe's prompt shows."""
        return self.answers[0]


def records_digest(records: Sequence[QARecord]) -> str:
    """Return 16 hexadecimal digits that change with any field of the records or with their order."""
    h = hashlib.blake2b(digest_size=8)
    for r in records:
        h.update("\x1f".join([r.id, r.question, *r.answers, r.context]).encode("utf-8", "surrogatepass"))
    return h.hexdigest()
