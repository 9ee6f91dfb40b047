"""Retrieval of the document's chunks that a statement is judged against, and their positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EVIDENCE_TOKENS = 128
"""Length of the evidence chunks for a statement, in tokens (LongReward, section 3.3)."""

NOTES_TOKENS = 4096
"""Length of the chunks for notes, in tokens (LongReward, section 3.4)."""

EVIDENCE_CHUNKS = 5
"""Number of evidence chunks for a statement."""


def nearest_chunks(
    statement: NDArray[np.floating], chunks: NDArray[np.floating], k: int = EVIDENCE_CHUNKS
) -> list[int]:
    """Return the indices of the `k` chunks most similar to a statement by cosine, best first; ties by position.

    Args:
        statement: its embedding, [dimension].
        chunks: the embeddings of the chunks, [chunks, dimension].
        k: number of chunks; all if there are fewer.

    Example:
        >>> nearest_chunks(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), k=2)
        [1, 2]

    Source: LongReward, `utils/retrieve.py` (in bfloat16, so that near ties have any order).
    """
    similarities = _unit(np.asarray(chunks, dtype=np.float64)) @ _unit(np.asarray(statement, dtype=np.float64))
    return [int(i) for i in np.argsort(-similarities, kind="stable")[:k]]


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms == 0, 1.0, norms)


def span_label(start: int, end: int, total: int) -> str:
    """Return a chunk's position in a document, in percent; half percents are rounded to even.

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
    """Return (`span_label`, notes) of each chunk, in order; chunks of the same label are not merged.

    Args:
        spans: first token, and one past the last token, of each chunk.
        total: tokens of the document.
        notes: one text per chunk.
    """
    return [(span_label(start, end, total), text) for (start, end), text in zip(spans, notes, strict=True)]
