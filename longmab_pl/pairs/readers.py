"""Readers of preference data: our files, TRL's formats and other layouts; every row is checked when it is read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from longmab_pl.data.qa_fields import half_character
from longmab_pl.data.readers import BadRecord
from longmab_pl.data.sources import RawRow, open_source
from longmab_pl.errors import DataError
from longmab_pl.pairs.conversations import ConversationError, Turn, check_roles, joined
from longmab_pl.pairs.layouts import LayoutError, canonical, check_columns, looks_like_a_question
from longmab_pl.pairs.types import PairOrigin, PreferencePair, ScoredResponse, Span
from longmab_pl.prompts.transcript import Turn as SampledTurn
from longmab_pl.shown import quoted, shown


def read_preferences(
    source: str, split: str = "train", columns: Mapping[str, str] | None = None
) -> Iterator[PreferencePair | BadRecord]:
    """Read the rows of a preference file or data set, with a `BadRecord` for each malformed row.

    A row has `chosen` and `rejected`, each a text or a list of messages (`role`, `content`), and one of these prompts:

    - messages: `prompt` up to the assistant's turn, `chosen` and `rejected` one assistant message each (or its text);
    - whole conversations in `chosen` and `rejected`: their common turns are the prompt (a `prompt` that they already
      contain is not repeated);
    - a question: `question`, `query` or `instruction` (with `input`), after the turns of `messages` or
      `conversations`, under `system`;
    - texts: `prompt`, used unchanged; without any of these columns, the common beginning of `chosen` and `rejected` up
      to its last white space.

    Optional: `id`, `prompt_id`, `tools`, `short_prompt` (`PreferencePair.short_prompt`),
    `chosen_reward`/`rejected_reward` (also `score_chosen`, `chosen-rating`, ...),
    and `chosen_ended`/`rejected_ended` (False: the answer was cut off at a length limit). An unread column
    whose name suggests a part of the prompt is an error: see `longmab_pl.pairs.layouts`.

    Args:
        source: as in `longmab_pl.data.readers.read_records`.
        split: split of a folder or data set whose name does not give one.
        columns: these columns -> the data's names, where they differ: `{question: ask, chosen: good}`.

    Raises:
        DataError: the source cannot be read.
        ConfigError: `columns` has an unknown key.
    """
    mapping = check_columns(columns)
    for number, row in enumerate(open_source(source, split), 1):
        try:
            yield _pair(row, number, mapping)
        except (_FieldError, LayoutError, ConversationError) as error:
            yield BadRecord(row.file, row.line, error.field, str(error))
        except RecursionError:
            yield BadRecord(row.file, row.line, "", "is nested too deeply; a message has a role and a content")


def read_round_pairs(path: Path) -> Iterator[PreferencePair]:
    """Read the pairs file of a round, in which every row must be valid.

    Raises:
        DataError: a row is invalid; the message names its line and field.
    """
    for pair in read_preferences(str(path)):
        if isinstance(pair, BadRecord):
            raise DataError(str(pair))
        if pair.origin is None:
            raise DataError(f"{pair.where}: the row does not say how a rollout made it; is this a round's pairs file?")
        yield pair


class _FieldError(Exception):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _pair(row: RawRow, number: int, columns: Mapping[str, str]) -> PreferencePair:
    if row.problem:
        raise _FieldError("", row.problem)
    if not isinstance(row.value, dict):
        raise _FieldError(
            "", f"the row is a {type(row.value).__name__}; it must be an object with prompt, chosen, rejected"
        )
    if row.value.get("chosen_turn_ids") is not None:
        return _conversations(row, row.value, number)
    fields, read = canonical(row.value, columns)
    read.add("short_prompt")
    chosen, rejected = _side(fields, "chosen", row.value), _side(fields, "rejected", row.value)
    prompt = _side(fields, "prompt", row.value) if "prompt" in fields else None
    before = _before(fields, prompt, chosen)
    if isinstance(chosen, str) and isinstance(rejected, str) and not isinstance(prompt, list) and not before:
        text, chosen, rejected = _texts(prompt, chosen, rejected, _unread(row.value, read))
        whole: str | tuple[Turn, ...] = text
    else:
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        messages, chosen, rejected = joined([*before, *(prompt or [])], _turns(chosen), _turns(rejected))
        check_roles(messages)
        whole = tuple(messages)
    origin = _origin(row.value)
    if not columns and origin is None:
        _refuse_unread(row.value, read, whole)
    return PreferencePair(
        id=_name(fields, "id") or str(number),
        prompt=whole,
        chosen=chosen,
        rejected=rejected,
        chosen_reward=_reward(fields, "chosen_reward"),
        rejected_reward=_reward(fields, "rejected_reward"),
        chosen_ended=_flag(fields, "chosen_ended"),
        rejected_ended=_flag(fields, "rejected_ended"),
        chosen_mask=_span(row.value, "chosen_mask"),
        rejected_mask=_span(row.value, "rejected_mask"),
        chosen_ids=_ids(row.value, "chosen_token_ids"),
        rejected_ids=_ids(row.value, "rejected_token_ids"),
        shared_ids=_shared(row.value),
        tools=_tools(fields),
        prompt_id=_name(fields, "prompt_id"),
        short_prompt=_short_prompt(row.value, as_messages=not isinstance(whole, str)),
        group=_group(row.value),
        origin=origin,
        where=f"{row.file}:{row.line}",
    )


def _conversations(row: RawRow, value: Mapping[str, Any], number: int) -> PreferencePair:
    """Return the pair of a row of our own files that compares conversations."""
    prompt = _messages(value.get("prompt"), "prompt")
    check_roles(prompt)
    sides = [_sampled_turns(value, side) for side in ("chosen", "rejected")]
    (shared,) = _numbers({"shared_turns": [value.get("shared_turns")]}, "shared_turns") or (0,)
    if shared >= min(map(len, sides)) or sides[0][:shared] != sides[1][:shared]:
        raise _FieldError("shared_turns", f"is {shared}; both conversations must begin with as many equal turns")
    return PreferencePair.of_conversations(
        _name(value, "id") or str(number),
        tuple(prompt),
        *sides,
        chosen_reward=_reward(value, "chosen_reward"),
        rejected_reward=_reward(value, "rejected_reward"),
        shared_turns=shared,
        imitated=_flag(value, "imitated"),
        origin=_origin(value),
        where=f"{row.file}:{row.line}",
    )


def _sampled_turns(row: Mapping[str, Any], side: str) -> list[SampledTurn]:
    messages = _messages(row.get(side), side)
    ids, ended = row.get(f"{side}_turn_ids"), row.get(f"{side}_turn_ended")
    for name, column in ((f"{side}_turn_ids", ids), (f"{side}_turn_ended", ended)):
        if not isinstance(column, list) or len(column) != len(messages):
            raise _FieldError(name, f"is {quoted(column)}; give a list with one value for each turn of {side}")
    assert ids is not None
    assert ended is not None
    turns = []
    for place, message in enumerate(messages):
        role = "user" if place % 2 else "assistant"
        if message["role"] != role:
            raise _FieldError(f"{side}[{place}].role", f"is {shown(message['role'], 20)}; it must be {role}")
        own = _numbers({"turn": ids[place]}, "turn") if ids[place] else ()
        if own and max(own) >= 2**31:
            raise _FieldError(f"{side}_turn_ids[{place}]", "has a number that is no token id")
        turns.append(SampledTurn(role, message["content"], own or (), _flag({"turn": ended[place]}, "turn")))
    if len(turns) % 2 == 0:
        raise _FieldError(side, "ends with a user's turn; it must end with the assistant's")
    return turns


# the prompt of a row


def _before(fields: Mapping[str, Any], prompt: str | list[Turn] | None, chosen: str | list[Turn]) -> list[Turn]:
    """Return the turns in separate columns: system, earlier turns, the question."""
    turns: list[Turn] = []
    if (system := fields.get("system")) is not None:
        turns.append({"role": "system", "content": _text(system, "system")})
    if (earlier := fields.get("messages")) is not None:
        given = _messages(earlier, "messages")
        # UltraFeedback repeats the better conversation in this column.
        if not (isinstance(chosen, list) and given[: len(chosen)] == chosen):
            turns += given
    if (question := fields.get("question")) is not None and prompt is None:
        if isinstance(question, list):
            turns += _messages(question, "question")
        else:
            turns.append({"role": "user", "content": _text(question, "question")})
    if turns and turns[0]["role"] == "system" and isinstance(prompt, list) and prompt[0]["role"] == "system":
        turns = turns[1:] if turns[0] == prompt[0] else turns
    return turns


def _texts(prompt: str | None, chosen: str, rejected: str, unread: list[str]) -> tuple[str, str, str]:
    if prompt is None:
        if unread:
            raise _unread_error(unread[0])
        return _common_text(chosen, rejected)
    start = prompt.rstrip()
    if start and chosen.startswith(start) and rejected.startswith(start):  # both repeat the prompt
        return start, chosen[len(start) :], rejected[len(start) :]
    return prompt, chosen, rejected


def _common_text(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Split two texts into their common beginning and the rest, at the last white space before they differ."""
    common = 0
    while common < min(len(chosen), len(rejected)) and chosen[common] == rejected[common]:
        common += 1
    while common and not chosen[common - 1].isspace():
        common -= 1
    prompt = chosen[:common].rstrip(" ")
    if not prompt.strip():
        raise _FieldError("prompt", "missing, and chosen and rejected have no beginning in common; give the prompt")
    return prompt, chosen[len(prompt) :], rejected[len(prompt) :]


def _unread(row: Mapping[str, Any], read: set[str]) -> list[str]:
    return [
        name
        for name, value in row.items()
        if isinstance(name, str) and looks_like_a_question(name) and name not in read and value not in (None, "", [])
    ]


def _refuse_unread(row: Mapping[str, Any], read: set[str], prompt: str | Sequence[Turn]) -> None:
    """Refuse an unread column that looks like a part of the prompt, unless the prompt contains its text."""
    spoken = prompt if isinstance(prompt, str) else "\n".join(str(turn["content"]) for turn in prompt)
    for name in _unread(row, read):
        value = row[name]
        if not (isinstance(value, str) and value.strip() in spoken):
            raise _unread_error(name)


def _unread_error(name: str) -> _FieldError:
    return _FieldError(
        name, "looks like a part of the prompt and is not read; name it with columns (question: NAME), or remove it"
    )


# fields


def _side(fields: Mapping[str, Any], name: str, row: Mapping[str, Any]) -> str | list[Turn]:
    value = fields.get(name)
    if value is None:
        there = ", ".join(shown(str(key)) for key in list(row)[:8]) or "nothing"
        raise _FieldError(name, f"missing; give a text or a list of messages (the row has {there})")
    if isinstance(value, str):
        return _text(value, name)
    if not isinstance(value, list):
        raise _FieldError(name, f"is {quoted(value)}; give a text or a list of messages")
    return _messages(value, name)


def _messages(value: Any, name: str) -> list[Turn]:
    if not isinstance(value, list):
        raise _FieldError(name, f"is {quoted(value)}; give a list of messages")
    if not value:
        raise _FieldError(name, "is an empty list; give at least one message")
    messages = []
    for place, message in enumerate(value):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _FieldError(f"{name}[{place}]", f"is {quoted(message)}; a message has a role and a content")
        # Formats that give all rows the same columns use null for a missing value.
        turn = {key: part for key, part in message.items() if part is not None}
        content = turn.get("content", "" if turn.get("tool_calls") else None)
        if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content):
            content = "".join(_text(part.get("text"), f"{name}[{place}].content") for part in content)
        if not isinstance(content, str):
            raise _FieldError(f"{name}[{place}].content", f"is {quoted(content)}; only texts can be trained on")
        _text(message["role"], f"{name}[{place}].role")
        _check_nested(turn, f"{name}[{place}]")
        messages.append({**turn, "content": content})
    return messages


def _turns(side: str | list[Turn]) -> list[Turn]:
    return [{"role": "assistant", "content": side}] if isinstance(side, str) else side


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _FieldError(name, f"is {quoted(value)}; give a text")
    if problem := half_character(value):
        raise _FieldError(name, problem)
    return value


def _check_nested(value: Any, name: str) -> None:
    if isinstance(value, str):
        _text(value, name)
    elif isinstance(value, dict):
        for key, part in value.items():
            _text(key, name)
            _check_nested(part, f"{name}.{shown(key)}")
    elif isinstance(value, list):
        for part in value:
            _check_nested(part, name)


def _name(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int) or (isinstance(value, int) and abs(value) >= 2**63):
        raise _FieldError(name, f"is {quoted(value)}; give a text or an integer")
    return _text(str(value), name)


def _reward(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if value is None:
        return 0.0
    if not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= 1e300:
        return float(value)
    # Compared before it is printed: Python refuses to print integers of thousands of digits.
    what = "too large a number" if isinstance(value, int) and abs(value) > 2**63 else quoted(value)
    raise _FieldError(name, f"is {what}; give a finite number, or leave it out")


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise _FieldError(name, f"is {quoted(value)}; give true or false, or leave it out")
    return value is not False


def _tools(fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    value = fields.get("tools")
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise _FieldError("tools", f"is no JSON: {shown(str(error))}") from error
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise _FieldError("tools", f"is {quoted(value)}; give a list of JSON schemas")
    _check_nested(value, "tools")
    return tuple(value)


# additional columns of our own files


def _numbers(row: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value):
        raise _FieldError(name, f"is {quoted(value)}; give a list of whole numbers")
    return tuple(value)


def _ids(row: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    ids = _numbers(row, name)
    if ids is not None and (not ids or max(ids) >= 2**31):
        raise _FieldError(name, f"is {quoted(list(ids))}; give the ids of at least one token")
    return ids


def _short_prompt(row: Mapping[str, Any], *, as_messages: bool) -> tuple[Turn, ...] | str | None:
    value = row.get("short_prompt")
    if value is None:
        return None
    if isinstance(value, str):
        text = _text(value, "short_prompt")
        return ({"role": "user", "content": text},) if as_messages else text
    messages = _messages(value, "short_prompt")
    check_roles(messages)
    return tuple(messages)


_GROUP = ("group_texts", "group_rewards", "group_ended", "group_token_ids", "group_on_prompt")


def _group(row: Mapping[str, Any]) -> tuple[ScoredResponse, ...]:
    """Return all responses of a row of our own files; empty if it has none."""
    columns = {name: row.get(name) for name in _GROUP}
    texts = columns["group_texts"]
    if texts is None:
        return ()
    for name, column in columns.items():
        if not isinstance(column, list) or not isinstance(texts, list) or len(column) != len(texts):
            raise _FieldError(name, f"is {quoted(column)}; give a list with one value for each response of the group")
    return tuple(
        ScoredResponse(
            _text(text, "group_texts"),
            _reward({"group_rewards": reward}, "group_rewards"),
            _flag({"group_ended": ended}, "group_ended"),
            _ids({"group_token_ids": ids}, "group_token_ids") if ids else None,
            _flag({"group_on_prompt": on_prompt}, "group_on_prompt"),
        )
        for text, reward, ended, ids, on_prompt in zip(*columns.values(), strict=True)
    )


def _shared(row: Mapping[str, Any]) -> int:
    name = "shared_token_ids"
    (count,) = _numbers({name: [row.get(name) or 0]}, name) or (0,)
    return count


def _span(row: Mapping[str, Any], name: str) -> Span | None:
    span = _numbers(row, name)
    if span is None:
        return None
    if len(span) != 2:
        raise _FieldError(name, f"is {quoted(list(span))}; give the characters [start, end) that are compared")
    return span[0], span[1]


_ORIGIN = {f.name: str(f.type) for f in dataclasses.fields(PairOrigin)}


def _origin(row: Mapping[str, Any]) -> PairOrigin | None:
    """Return how a rollout made the row, if all its fields are there; else None."""
    if any(name not in row for name in _ORIGIN):
        return None
    values: dict[str, Any] = {}
    for name, kind in _ORIGIN.items():
        value = row[name]
        if kind == "str":
            values[name] = _text(value, name)
        elif kind == "int":
            (values[name],) = _numbers({name: [value]}, name) or ()
        else:
            values[name] = _numbers(row, name) or ()
    return PairOrigin(**values)


def first_lines(problems: Sequence[BadRecord], shown: int = 10) -> str:
    """Return the first problems, one per line, and how many more there are."""
    lines = [f"  {problem}" for problem in problems[:shown]]
    return "\n".join(lines if len(problems) <= shown else [*lines, f"  ... and {len(problems) - shown} more"])
