"""The short answer in an output, as parsed by HELMET."""

from __future__ import annotations

import re

_STATED = re.compile(r"answer:(.*)", re.IGNORECASE)
_REPEATED = re.compile(r"^answer:", re.IGNORECASE)


def parsed_answer(output: str) -> str:
    """Return the answer in an output: the rest of the line after its first `answer:`, or its first line.

    Example:
        >>> parsed_answer("It was Paris.\\nAnswer: Lyon\\nSure."), parsed_answer("Lyon\\nSure.")
        ('Lyon', 'Lyon')

    Source: HELMET, `utils.parse_output`.
    """
    stated = _STATED.search(output)
    text = stated[1] if stated else output.split("\n", 1)[0]
    return _REPEATED.sub("", text.strip()).strip()
