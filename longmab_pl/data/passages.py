"""Long contexts built from whole documents (SeaLong, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence


def join_passages(documents: Sequence[str]) -> str:
    """Return documents as one context: each after a `Passage i:` line, from 1, without blank lines between them.

    Example:
        >>> join_passages(["First text.", "Second text."])
        'Passage 1:\\nFirst text.\\nPassage 2:\\nSecond text.'

    Source: SeaLong, `process_data.py`.
    """
    return "\n".join(f"Passage {i}:\n{document}".strip() for i, document in enumerate(documents, 1)).strip()


def titled_passage(number: int, title: str, text: str) -> str:
    """Return a passage below its number (from 1) and title.

    Example:
        >>> titled_passage(2, "Quito", "Quito lies in Ecuador.")
        'Passage 2: Quito\\nQuito lies in Ecuador.'
    """
    return f"Passage {number}: {title}\n{text}"


def fill_budget(taken: int, candidates: Sequence[int], budget: int, header_tokens: int = 0) -> list[int]:
    """Return the indices of the documents that fit into the remaining budget, in order.

    A document that does not fit is skipped, and later ones are tried.

    Args:
        taken: tokens of the documents that are always in the context.
        candidates: tokens of each further document, in the order in which they are tried.
        budget: maximum context length in tokens.
        header_tokens: tokens of the line above a document (the original counts the documents alone).

    Example:
        >>> fill_budget(50, [40, 80, 10], budget=100)
        [0, 2]

    Source: SeaLong, `process_data.py`.
    """
    chosen = []
    for index, tokens in enumerate(candidates):
        if taken + tokens + header_tokens <= budget:
            taken += tokens + header_tokens
            chosen.append(index)
    return chosen
