"""Long contexts around kept questions: the chunk with the answer among chunks that do not hold it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.data.long_contexts import ContextBuilder, ContextSettings, Document, LongContext
from longmab_pl.rewards.lenient_match import contains_words, normalize_lenient
from longmab_pl.synthesis.candidates import Candidate
from longmab_pl.synthesis.documents import DocumentChunk, each_text_once


@dataclass(frozen=True)
class QuestionRecord:
    """A kept question with its long context.

    Args:
        candidate: the question.
        context: the context.
    """

    candidate: Candidate
    context: LongContext

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values: a line of its file."""
        return {
            "id": self.candidate.id,
            "input": self.candidate.question,
            "answer": self.candidate.answer,
            "context": self.context.text,
            "num_tokens": self.context.tokens,
            "passages": self.context.passages,
            "evidence_passages": list(self.context.places),
            "document": self.candidate.chunk.document,
            "agreement": self.candidate.agreement,
        }


class ChunkPool:
    """The chunks of some documents as distractors, each text once.

    Args:
        chunks: the chunks.
    """

    def __init__(self, chunks: Sequence[DocumentChunk]) -> None:
        self._chunks = {chunk.key: chunk for chunk in each_text_once(chunks)}
        self._normal: dict[str, str] = {}
        self._of_document: dict[str, list[str]] = defaultdict(list)
        for key, chunk in self._chunks.items():
            self._of_document[chunk.document].append(key)

    def keys(self) -> Sequence[str]:
        """Return the keys of all chunks, sorted."""
        return sorted(self._chunks)

    def text(self, key: str) -> str:
        """Return the text of a chunk."""
        return self._chunks[key].text

    def beside(self, chunk: DocumentChunk) -> list[Document]:
        """Return the other chunks of a chunk's document, in an order that does not depend on other documents."""
        return [Document(key, self.text(key)) for key in sorted(self._of_document[chunk.document]) if key != chunk.key]

    def holds(self, key: str, normal_answer: str) -> bool:
        """Return whether a chunk holds an answer, which is in normal form."""
        if key not in self._normal:
            self._normal[key] = normalize_lenient(self.text(key))
        return contains_words(self._normal[key], normal_answer)


def question_records(
    kept: Sequence[Candidate], chunks: Sequence[DocumentChunk], settings: ContextSettings, count: Callable[[str], int]
) -> Iterator[QuestionRecord | Candidate]:
    """Yield a record for each kept question, or the question itself if its chunk alone is longer than `max_tokens`.

    Distractors are the other chunks of the question's document, then chunks of other documents; none holds the answer.

    Args:
        kept: the questions.
        chunks: the chunks of the documents on the questions' side of the split.
        settings: lengths, depths and seed.
        count: function that returns the tokens of a text.
    """
    pool = ChunkPool(chunks)
    builder = ContextBuilder(settings, count, pool)
    for candidate in kept:
        answer = normalize_lenient(candidate.answer)

        def without_answer(document: Document, answer: str = answer) -> bool:
            return not pool.holds(document.key, answer)

        gold = Document(candidate.chunk.key, candidate.chunk.text)
        own = [document for document in pool.beside(candidate.chunk) if without_answer(document)]
        context = builder.build(candidate.id, [gold], own, without_answer)
        yield candidate if context is None else QuestionRecord(candidate, context)
