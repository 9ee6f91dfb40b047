"""The record: a question about a long context, or an instruction to write a long text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

Span = tuple[int, int]
"""Characters [start, end) of a text."""


@dataclass(frozen=True)
class QARecord:
    """A question about a long context with its gold answers, or an instruction to write a text (without both).

    Args:
        id: unique in its file.
        question: what is asked.
        answers: one or more gold answers (non-empty strings); empty for a writing instruction.
        context: the long text; empty for a writing instruction.
        length: required length of the answer in words; None: any.
        answerable: whether the context holds an answer; False: the gold answers say that it does not.
        evidence: characters of the context that hold the answer, ascending; None: not known; empty: nothing does.
        passages: characters at which the context's numbered passages start, with their numbers; empty: not numbered
            (`longmab_pl.data.numbering`).
    """

    id: str
    question: str
    answers: tuple[str, ...]
    context: str
    length: int | None = field(default=None, kw_only=True)
    answerable: bool = field(default=True, kw_only=True)
    evidence: tuple[Span, ...] | None = field(default=None, kw_only=True)
    passages: tuple[int, ...] = field(default=(), kw_only=True)

    @property
    def answer(self) -> str:
        """The first gold answer, which the probe's prompt shows; "" for a writing instruction."""
        return self.answers[0] if self.answers else ""


def records_digest(records: Sequence[QARecord]) -> str:
    """Return 16 hexadecimal digits that change with any field of the records or with their order.

    The evidence counts in records with numbered passages only: nothing else reads it.
    """
    h = hashlib.blake2b(digest_size=8)
    for r in records:
        length = [] if r.length is None else [f"{r.length} words"]
        grounds = [f"{r.evidence}"] if r.passages else []
        fields = [r.id, r.question, *r.answers, r.context, *length, *grounds]
        fields += [] if r.answerable else ["unanswerable"]
        h.update("\x1f".join(fields).encode("utf-8", "surrogatepass"))
    return h.hexdigest()
