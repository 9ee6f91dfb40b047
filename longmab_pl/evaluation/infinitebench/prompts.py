"""InfiniteBench's prompts: the fields of an item and its labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from longmab_pl.errors import DataError
from longmab_pl.shown import quoted

CHOICES = ("code_debug", "longbook_choice_eng")
"""Tasks with four options."""

_CALL = re.compile(r"func_[0-9]+\(-?[0-9]+\)")
_TARGET = re.compile(r"The .+ of")


def fields(task: str, context: str, question: str, options: Sequence[str]) -> dict[str, str]:
    """Return the fields that a template may name: `context`, `input`, `question` and those of the task.

    Args:
        task: name of the task.
        context, question: the item's `context` and `input`.
        options: options of a choice task: `OPTION_A` to `OPTION_D`.

    Raises:
        DataError: the question of a code_run item calls no function, or that of a math_find item asks for no number.
    """
    found = {"context": context, "input": question, "question": question}
    if task in CHOICES:
        found |= {f"OPTION_{letter}": option for letter, option in zip("ABCD", options, strict=False)}
    if task == "code_run":
        call = _CALL.search(question)
        if call is None:
            raise DataError(f"the question of a code_run item has no call like func_3(-5): {quoted(question)}")
        found |= {"func_call": call[0], "func": call[0].split("(")[0]}
    if task == "math_find":
        target = _TARGET.search(question)
        if target is None:
            raise DataError(f'the question of a math_find item has no "The ... of": {quoted(question)}')
        found["target"] = target[0].lower().removesuffix(" of")
    return found


def labels(task: str, answer: Any, options: Sequence[str]) -> Any:
    """Return the labels of an item: for the choice tasks the option's text and its letter, else the answer.

    Raises:
        DataError: the answer of a choice task is not one of its options.
    """
    if task not in CHOICES:
        return answer
    listed = answer if isinstance(answer, list) else [answer]
    if len(listed) == 2 and listed[1] in ("A", "B", "C", "D"):
        return listed
    if len(listed) != 1 or listed[0] not in options:
        raise DataError(f"the answer of a {task} item, {quoted(str(answer))}, is not one of its options")
    return [listed[0], "ABCD"[list(options).index(listed[0])]]


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return the template with its fields filled in one pass; braces in a document are kept."""
    return template.format(**values)
