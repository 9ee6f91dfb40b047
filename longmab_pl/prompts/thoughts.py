"""Answers of models that think before they answer."""

from __future__ import annotations

_MARKS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"), ("<thought>", "</thought>"))


def without_thought(text: str) -> str:
    """Return the part of an answer after its initial thought; only that part is scored.

    A chat template may open the thought, so that the answer has only the closing tag. A thought without a closing tag
    was cut at the length limit, and the result is empty.

    Args:
        text: the assistant's whole turn.

    Example:
        >>> without_thought("<think>Lima or Quito?</think>\\n\\nAnswer: Lima")
        'Answer: Lima'
    """
    start = text.lstrip()
    for begin, end in _MARKS:
        if start.startswith(begin):
            return start.partition(end)[2].lstrip() if end in start else ""
        thought, mark, rest = text.partition(end)
        if mark and begin not in thought:
            return rest.lstrip()
    return text


def with_broken_marks(text: str) -> str:
    """Return an answer with a dot in each mark of a thought, so that `without_thought` keeps the thought.

    Scores that ignore punctuation are those of the answer itself.

    Example:
        >>> without_thought(with_broken_marks("<think>Answer: Lima</think>"))
        '<.think>Answer: Lima<./think>'
    """
    for mark in {mark for marks in _MARKS for mark in marks}:
        text = text.replace(mark, f"{mark[0]}.{mark[1:]}")
    return text
