"""Answers of models that think before they answer."""

from __future__ import annotations

_MARKS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"), ("<thought>", "</thought>"))


def without_thought(text: str) -> str:
    """Return what an answer says after the thought that it begins with; only that is scored.

    A chat template may have opened the thought, so that the answer holds its end alone. A thought without an end was
    cut at the length limit: nothing has been answered.

    Args:
        text: an assistant's whole turn.

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
