"""Which chunks of a document a statement is judged against, and where in it they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EVIDENCE_TOKENS = 128
"""Length of the chunks that a statement is judged against, in tokens (LongReward, section 3.3)."""

NOTES_TOKENS = 4096
"""Length of the chunks that notes are taken from, in tokens (LongReward, section 3.4)."""

EVIDENCE_CHUNKS = 5
"""Chunks that a statement is judged against."""


def nearest_chunks(
    statement: NDArray[np.floating], chunks: NDArray[np.floating], k: int = EVIDENCE_CHUNKS
) -> list[int]:
    """Return the `k` chunks most similar to a statement by cosine, best first; of equal ones the earlier first.

    Args:
        statement: its embedding, [dimension].
        chunks: the embeddings of the chunks, [chunks, dimension].
        k: how many; all where there are fewer.

    Example:
        >>> nearest_chunks(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), k=2)
        [1, 2]

    Source: LongReward, `utils/retrieve.py` (there in bfloat16, where near ties fall in any order).
    """
    similarities = _unit(np.asarray(chunks, dtype=np.float64)) @ _unit(np.asarray(statement, dtype=np.float64))
    return [int(i) for i in np.argsort(-similarities, kind="stable")[:k]]


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms == 0, 1.0, norms)


def span_label(start: int, end: int, total: int) -> str:
    """Return where in a document a chunk is, in percent; half percents are rounded to even.

    Args:
        start: its first token.
        end: one past its last token.
        total: tokens of the document.

    Example:
        >>> span_label(4096, 8192, 65536)
        '6% - 12%'

    Source: LongReward, `batch_inference/1_get_chunk_info.py`.
    """
    return f"{round(100 * start / total)}% - {round(100 * end / total)}%"


def labeled_notes(spans: Sequence[tuple[int, int]], total: int, notes: Sequence[str]) -> list[tuple[str, str]]:
    """Return each chunk's notes with its `span_label`, in order: chunks of the same label keep their own notes.

    Args:
        spans: first and one past the last token of each chunk.
        total: tokens of the document.
        notes: one text a chunk.
    """
    return [(span_label(start, end, total), text) for (start, end), text in zip(spans, notes, strict=True)]
