"""Checked fields of a row of preference or SFT data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from longmab_pl.data.qa_fields import half_character
from longmab_pl.pairs.conversations import Turn, check_roles
from longmab_pl.pairs.types import PairOrigin, ScoredResponse, Span
from longmab_pl.shown import quoted, shown


class FieldError(Exception):
    """A row that cannot be used; `field` names the invalid field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def text_or_messages(fields: Mapping[str, Any], name: str, row: Mapping[str, Any]) -> str | list[Turn]:
    """Return a required field, a text or a list of messages."""
    value = fields.get(name)
    if value is None:
        raise FieldError(name, f"missing; give a text or a list of messages (the row has {names_in(row)})")
    if isinstance(value, str):
        return checked_text(value, name)
    if not isinstance(value, list):
        raise FieldError(name, f"is {quoted(value)}; give a text or a list of messages")
    return messages_of(value, name)


def names_in(row: Mapping[str, Any]) -> str:
    """Return the first names of a row's columns for a message."""
    return ", ".join(shown(str(name)) for name in list(row)[:8]) or "nothing"


def messages_of(value: Any, name: str) -> list[Turn]:
    """Return a checked list of messages; null parts are left out, and parts of a text are joined."""
    if not isinstance(value, list):
        raise FieldError(name, f"is {quoted(value)}; give a list of messages")
    if not value:
        raise FieldError(name, "is an empty list; give at least one message")
    messages = []
    for place, message in enumerate(value):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise FieldError(f"{name}[{place}]", f"is {quoted(message)}; a message has a role and a content")
        # Formats that give all rows the same columns use null for a missing value.
        turn = {key: part for key, part in message.items() if part is not None}
        content = turn.get("content", "" if turn.get("tool_calls") else None)
        if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content):
            content = "".join(checked_text(part.get("text"), f"{name}[{place}].content") for part in content)
        if not isinstance(content, str):
            raise FieldError(f"{name}[{place}].content", f"is {quoted(content)}; only texts can be trained on")
        checked_text(message["role"], f"{name}[{place}].role")
        _check_nested(turn, f"{name}[{place}]")
        messages.append({**turn, "content": content})
    return messages


def turns_of(side: str | list[Turn]) -> list[Turn]:
    """Return an answer as messages."""
    return [{"role": "assistant", "content": side}] if isinstance(side, str) else side


def checked_text(value: Any, name: str) -> str:
    """Return a value that is a text without half a character."""
    if not isinstance(value, str):
        raise FieldError(name, f"is {quoted(value)}; give a text")
    if problem := half_character(value):
        raise FieldError(name, problem)
    return value


def _check_nested(value: Any, name: str) -> None:
    if isinstance(value, str):
        checked_text(value, name)
    elif isinstance(value, dict):
        for key, part in value.items():
            checked_text(key, name)
            _check_nested(part, f"{name}.{shown(key)}")
    elif isinstance(value, list):
        for part in value:
            _check_nested(part, name)


def name_of(fields: Mapping[str, Any], name: str) -> str:
    """Return an optional id as text; "" without one."""
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int) or (isinstance(value, int) and abs(value) >= 2**63):
        raise FieldError(name, f"is {quoted(value)}; give a text or an integer")
    return checked_text(str(value), name)


def reward_of(fields: Mapping[str, Any], name: str) -> float:
    """Return an optional score; 0 without one."""
    value = fields.get(name)
    if value is None:
        return 0.0
    if not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= 1e300:
        return float(value)
    # Compared before it is printed: Python refuses to print integers of thousands of digits.
    what = "too large a number" if isinstance(value, int) and abs(value) > 2**63 else quoted(value)
    raise FieldError(name, f"is {what}; give a finite number, or leave it out")


def flag_of(fields: Mapping[str, Any], name: str) -> bool:
    """Return an optional flag; True without one."""
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise FieldError(name, f"is {quoted(value)}; give true or false, or leave it out")
    return value is not False


def tools_of(fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the JSON schemas of `tools`, which may be written as JSON text."""
    value = fields.get("tools")
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise FieldError("tools", f"is no JSON: {shown(str(error))}") from error
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise FieldError("tools", f"is {quoted(value)}; give a list of JSON schemas")
    _check_nested(value, "tools")
    return tuple(value)


# additional columns of our own files


def numbers(row: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    """Return an optional list of numbers from 0 on."""
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value):
        raise FieldError(name, f"is {quoted(value)}; give a list of whole numbers")
    return tuple(value)


def ids_of(row: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    """Return an optional list of token ids."""
    ids = numbers(row, name)
    if ids is not None and (not ids or max(ids) >= 2**31):
        raise FieldError(name, f"is {quoted(list(ids))}; give the ids of at least one token")
    return ids


def short_prompt_of(row: Mapping[str, Any], *, as_messages: bool) -> tuple[Turn, ...] | str | None:
    """Return the shorter prompt of a row of our own files; None without one."""
    value = row.get("short_prompt")
    if value is None:
        return None
    if isinstance(value, str):
        text = checked_text(value, "short_prompt")
        return ({"role": "user", "content": text},) if as_messages else text
    messages = messages_of(value, "short_prompt")
    check_roles(messages)
    return tuple(messages)


_GROUP = ("group_texts", "group_rewards", "group_ended", "group_token_ids", "group_on_prompt")


def group_of(row: Mapping[str, Any]) -> tuple[ScoredResponse, ...]:
    """Return all responses of a row of our own files; empty if it has none."""
    columns = {name: row.get(name) for name in _GROUP}
    texts = columns["group_texts"]
    if texts is None:
        return ()
    for name, column in columns.items():
        if not isinstance(column, list) or not isinstance(texts, list) or len(column) != len(texts):
            raise FieldError(name, f"is {quoted(column)}; give a list with one value for each response of the group")
    return tuple(
        ScoredResponse(
            checked_text(text, "group_texts"),
            reward_of({"group_rewards": reward}, "group_rewards"),
            flag_of({"group_ended": ended}, "group_ended"),
            ids_of({"group_token_ids": ids}, "group_token_ids") if ids else None,
            flag_of({"group_on_prompt": on_prompt}, "group_on_prompt"),
        )
        for text, reward, ended, ids, on_prompt in zip(*columns.values(), strict=True)
    )


def shared_ids_of(row: Mapping[str, Any]) -> int:
    """Return the number of token ids that earlier blocks take."""
    name = "shared_token_ids"
    (count,) = numbers({name: [row.get(name) or 0]}, name) or (0,)
    return count


def span_of(row: Mapping[str, Any], name: str) -> Span | None:
    """Return an optional span of characters."""
    span = numbers(row, name)
    if span is None:
        return None
    if len(span) != 2:
        raise FieldError(name, f"is {quoted(list(span))}; give the characters [start, end) that are compared")
    return span[0], span[1]


_ORIGIN = {f.name: str(f.type) for f in dataclasses.fields(PairOrigin)}


def origin_of(row: Mapping[str, Any]) -> PairOrigin | None:
    """Return how a rollout made the row, if all its fields are there; else None."""
    if any(name not in row for name in _ORIGIN):
        return None
    values: dict[str, Any] = {}
    for name, kind in _ORIGIN.items():
        value = row[name]
        if kind == "str":
            values[name] = checked_text(value, name)
        elif kind == "int":
            (values[name],) = numbers({name: [value]}, name) or ()
        else:
            values[name] = numbers(row, name) or ()
    return PairOrigin(**values)
