"""Conversion of a prompt and conversations to one prompt and its answers, without repeated turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longmab_pl.shown import shown

Turn = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython")
"""Roles that a prompt's messages may have."""


class ConversationError(Exception):
    """Conversations that are not one prompt with its answers; `field` names the invalid field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def joined(first: list[Turn], chosen: list[Turn], rejected: list[Turn]) -> tuple[list[Turn], str, str]:
    """Return the prompt's messages and the texts of the two final assistant turns.

    Args:
        first: the row's prompt, possibly empty.
        chosen: the better conversation, or only its last turn.
        rejected: the worse one.

    Raises:
        ConversationError: they differ in more than one assistant turn, or the prompt is ambiguous.
    """
    chosen, rejected = _same_system(chosen, rejected)
    common = 0
    # The last message of each is an answer, even if both are the same.
    while common < min(len(chosen), len(rejected)) - 1 and _same(chosen[common], rejected[common]):
        common += 1
    shared, chosen, rejected = chosen[:common], chosen[common:], rejected[common:]
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if len(side) != 1 or side[0]["role"] != "assistant":
            roles = ", ".join(shown(message["role"], 20) for message in side[:6])
            raise ConversationError(
                name, f"differs from the other in the turns {roles}; one assistant turn can be compared"
            )
        _refuse_tool_calls(name, side[0])
    messages = _once(first, shared)
    if not messages:
        raise ConversationError("prompt", "missing, and chosen and rejected have no turn in common; give the prompt")
    if messages[-1]["role"] == "assistant":
        raise ConversationError("prompt", "ends with an assistant's turn; it must end before the turn that is compared")
    return messages, chosen[0]["content"], rejected[0]["content"]


def split_answer(first: list[Turn], turns: list[Turn], name: str) -> tuple[list[Turn], str]:
    """Return the prompt's messages and the text of the last turn, the assistant's.

    Args:
        first: the row's prompt, possibly empty.
        turns: a conversation, or only its last turn.
        name: column of the turns.

    Raises:
        ConversationError: the last turn is not the assistant's, or the prompt is missing or ambiguous.
    """
    *before, last = turns
    if last["role"] != "assistant":
        raise ConversationError(
            name, f"ends with a turn of {shown(last['role'], 20)}; the last turn, which is learned, must be assistant"
        )
    _refuse_tool_calls(name, last)
    messages = _once(first, before)
    if not messages:
        raise ConversationError("prompt", "missing; give a prompt, a question, or messages before the answer")
    if messages[-1]["role"] == "assistant":
        raise ConversationError("prompt", "ends with an assistant's turn; it must end before the turn that is learned")
    return messages, last["content"]


def _refuse_tool_calls(name: str, answer: Turn) -> None:
    if answer.get("tool_calls"):
        raise ConversationError(f"{name}.tool_calls", "an answer that calls a tool is no text; leave the row out")


def check_roles(messages: Sequence[Turn]) -> None:
    """Raise ConversationError for a role that is not one of `ROLES`."""
    for place, message in enumerate(messages):
        if message["role"] not in ROLES:
            raise ConversationError(
                f"prompt[{place}].role", f"is {shown(message['role'])!r}; a role is one of {', '.join(ROLES)}"
            )


def _once(first: list[Turn], shared: list[Turn]) -> list[Turn]:
    """Return the prompt and the turns that both conversations begin with, without repeated turns."""
    if not first or not shared:
        return first or shared
    told, spoken = _spoken(first), _spoken(shared)
    system = _system(first) or _system(shared)
    if _system(first) and _system(shared) and not _same(_system(first)[0], _system(shared)[0]):
        raise ConversationError("prompt", "has another system message than the conversations; leave one of them out")
    if not told or not spoken:
        return [*system, *(told or spoken)]
    if _begins(spoken, told) or _begins(spoken[::-1], told[::-1]):  # the conversations contain the prompt
        return [*system, *spoken]
    if _begins(told[::-1], spoken[::-1]):  # the prompt contains the conversations' beginning
        return [*system, *told]
    if told[-1]["role"] == spoken[0]["role"] or any(_same(a, b) for a in told for b in spoken):
        raise ConversationError(
            "prompt", "and the conversations begin in different ways; give the prompt in one of them only"
        )
    return [*system, *told, *spoken]


def _same_system(chosen: list[Turn], rejected: list[Turn]) -> tuple[list[Turn], list[Turn]]:
    """Return both conversations with the system message that only one of them has."""
    if len(chosen) > 1 and len(rejected) > 1:
        if _system(chosen) and not _system(rejected):
            return chosen, [*_system(chosen), *rejected]
        if _system(rejected) and not _system(chosen):
            return [*_system(rejected), *chosen], rejected
    return chosen, rejected


def _system(turns: list[Turn]) -> list[Turn]:
    return turns[:1] if turns[0]["role"] in ("system", "developer") else []


def _spoken(turns: list[Turn]) -> list[Turn]:
    return turns[len(_system(turns)) :]


def _begins(turns: list[Turn], start: list[Turn]) -> bool:
    return len(start) <= len(turns) and all(_same(a, b) for a, b in zip(turns, start, strict=False))


def _same(a: Turn, b: Turn) -> bool:
    """Return whether two turns are equal, ignoring surrounding white space."""
    return {**a, "content": a["content"].strip()} == {**b, "content": b["content"].strip()}
