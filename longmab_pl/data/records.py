"""The record: a question about a long context, or an instruction to write a long text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class QARecord:
    """A question about a long context with its gold answers, or an instruction to write a text (without both).

    Args:
        id: unique in its file.
        question: what is asked.
        answers: one or more gold answers (non-empty strings); empty for a writing instruction.
        context: the long text; empty for a writing instruction.
        length: required length of the answer in words; None: any.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    context: str
    length: int | None = field(default=None, kw_only=True)

    @property
    def answer(self) -> str:
        """The first gold answer, which the probe's prompt shows; "" for a writing instruction."""
        return self.answers[0] if self.answers else ""


def records_digest(records: Sequence[QARecord]) -> str:
    """Return 16 hexadecimal digits that change with any field of the records or with their order."""
    h = hashlib.blake2b(digest_size=8)
    for r in records:
        length = [] if r.length is None else [f"{r.length} words"]
        h.update("\x1f".join([r.id, r.question, *r.answers, r.context, *length]).encode("utf-8", "surrogatepass"))
    return h.hexdigest()
