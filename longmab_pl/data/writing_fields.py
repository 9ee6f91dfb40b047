"""Fields of a writing instruction: what to write, and the required length in words.

Formats: ours and LongBench-Write's (`prompt`, `length`), LongDPO's (`instruction`, `target_length`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longmab_pl.data.qa_fields import FieldError, checked_text, has_field, kind

INSTRUCTION = ("instruction", "prompt")
LENGTH = ("length", "target_length")
_OF_OTHER_KINDS = ("chosen", "rejected", "output", "completions")


def is_instruction(row: Mapping[str, Any], fields: Mapping[str, str] | None = None) -> bool:
    """Return whether a row is a writing instruction: it has one, as text, and nothing of another kind of data.

    Args:
        row: the row.
        fields: our names of a question's fields -> the data's names, as for `read_records`.

    Example:
        >>> is_instruction({"prompt": "Write a story.", "length": 500}), is_instruction({"question": "Why?"})
        (True, False)
    """
    has_text = any(isinstance(row.get(name), str) for name in INSTRUCTION)
    of_a_question = any(has_field(row, field, fields) for field in ("question", "answers", "context"))
    return has_text and not of_a_question and not any(row.get(name) is not None for name in _OF_OTHER_KINDS)


def instruction(row: Mapping[str, Any]) -> str:
    """Return the instruction of a row.

    Raises:
        FieldError: it is blank or has an unpaired surrogate.
    """
    name = next(name for name in INSTRUCTION if isinstance(row.get(name), str))
    return checked_text(name, row[name])


def required_length(row: Mapping[str, Any]) -> int | None:
    """Return the required length in words, or None if the row has none.

    Raises:
        FieldError: it is not a whole number of at least 1.

    Example:
        >>> required_length({"length": 500}), required_length({"length": None})
        (500, None)
    """
    for name in LENGTH:
        value = row.get(name)
        if value is None:
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # columns of CSV and Parquet files with empty cells are floating-point
        if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise FieldError(name, f"is {kind(value)}; give the required number of words, or null")
        if value < 1:
            raise FieldError(name, f"is {value}; the required number of words is at least 1 (null: any length)")
        return value
    return None
