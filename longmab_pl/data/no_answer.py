"""Questions without an answer in the text, and answers that say so."""

from __future__ import annotations

from collections.abc import Callable

NOT_STATED = "not stated"
"""What the questions of `longmab synthesize` ask the model to answer where the text does not hold the answer."""

PHRASES = (NOT_STATED, "not mentioned", "not given", "no answer", "unanswerable", "unknown")
"""Gold answers of such a question; each is an answer that says that there is none."""


def says_no_answer(answer: str, normalize: Callable[[str], str] = str.lower) -> bool:
    """Return whether an answer says that the text does not hold one, and nothing else.

    Args:
        answer: the answer that a response states.
        normalize: the normal form in which texts are compared.

    Example:
        >>> says_no_answer("not stated in the text"), says_no_answer("Lima, or not stated")
        (True, False)
    """
    said = normalize(answer)
    return any(said == phrase or said.startswith(f"{phrase} in ") for phrase in map(normalize, PHRASES))
