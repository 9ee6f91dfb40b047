"""The marked paragraphs of a document, and the selection of those relevant to a question."""

from __future__ import annotations

import re
from collections.abc import Sequence

PARAGRAPH_TOKENS = 512
"""Length of a paragraph in tokens."""

_VERDICT = re.compile(r"(?<![^\W_])(yes|maybe|no|not|none)(?![^\W_])")


def mark_paragraphs(pieces: Sequence[str]) -> str:
    """Return the pieces of a document, each between tags with its number from 0, without separators.

    Example:
        >>> mark_paragraphs(["First.", "Second."])
        '<para 0> First. </para 0><para 1> Second. </para 1>'

    Source: AgenticLU, `long_context_llm/qa_tree_datagen.py`.
    """
    return "".join(f"<para {i}> {piece} </para {i}>" for i, piece in enumerate(pieces))


def paragraph_marks(kept: Sequence[int]) -> str:
    """Return the opening tags of the kept paragraphs, joined by spaces.

    Example:
        >>> paragraph_marks([1, 5])
        '<para 1> <para 5>'
    """
    return " ".join(f"<para {i}>" for i in kept)


def join_paragraphs(pieces: Sequence[str], kept: Sequence[int]) -> str:
    """Return the text of the kept paragraphs, with an ellipsis and a blank line between them.

    Example:
        >>> join_paragraphs(["a", "b", "c"], [0, 2])
        'a...\\n\\n...c'
    """
    return "...\n\n...".join(pieces[i] for i in kept)


def is_relevant(reply: str) -> bool:
    """Return whether a verdict keeps a paragraph: all but a no do, because losing one costs more than an extra one.

    The verdict is the first of the words yes, maybe, no, not and none after the last `Answer:`, or in the whole reply
    without it. A reply without a verdict keeps the paragraph.

    Example:
        >>> is_relevant("It dates the event. Answer: maybe, I know little"), is_relevant("Answer: no")
        (True, False)

    Source: AgenticLU, section 3.2 (the program drops a paragraph for the letters "no" anywhere, as in "know").
    """
    verdict = _VERDICT.search(reply.lower().rpartition("answer:")[2])
    return verdict is None or verdict[1] in ("yes", "maybe")


def kept_paragraphs(replies: Sequence[str]) -> list[int]:
    """Return the numbers of the paragraphs that the verdicts keep, given one reply per paragraph."""
    return [i for i, reply in enumerate(replies) if is_relevant(reply)]
