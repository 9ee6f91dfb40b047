"""LongBench Pro's prompt: the context and the item's own question."""

from __future__ import annotations


def prompt(context: str, question: str) -> str:
    """Return the user's turn: the context, four line ends, the question."""
    return f"{context}\n\n\n\n{question}"
