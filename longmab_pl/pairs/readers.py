"""Readers of preference and SFT data: our files, TRL's formats and other layouts; every row is checked when read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from longmab_pl.data.readers import BadRecord
from longmab_pl.data.sources import RawRow, open_source
from longmab_pl.errors import DataError
from longmab_pl.pairs.conversations import ConversationError, Turn, check_roles, joined, split_answer
from longmab_pl.pairs.fields import (
    FieldError,
    checked_text,
    flag_of,
    group_of,
    ids_of,
    messages_of,
    name_of,
    names_in,
    numbers,
    origin_of,
    reward_of,
    shared_ids_of,
    short_prompt_of,
    span_of,
    text_or_messages,
    tools_of,
    turns_of,
)
from longmab_pl.pairs.layouts import LayoutError, canonical, check_columns, looks_like_a_question
from longmab_pl.pairs.types import Answer, Demonstration, PreferencePair
from longmab_pl.prompts.transcript import Turn as SampledTurn
from longmab_pl.shown import quoted, shown

T = TypeVar("T")


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
    return _rows(source, split, check_columns(columns), _pair)


def read_answered(
    source: str, split: str = "train", columns: Mapping[str, str] | None = None
) -> Iterator[PreferencePair | Demonstration | BadRecord]:
    """Read the rows of a preference or SFT file: a `Demonstration` for each row that has no worse answer.

    Its prompt is one of those of `read_preferences` (`context` may precede a question), and its answer is one of these:

    - `answer`, `response`, `completion` or `output` (or `chosen` alone): a text or messages of which the last is the
      assistant's;
    - the last turn of `messages` or `conversations`, which must be the assistant's; the turns before it are the prompt.

    Args:
        source: as for `read_preferences`.
        split: as for `read_preferences`.
        columns: as for `read_preferences`: `{question: ask, answer: reply}`.

    Raises:
        DataError, ConfigError: as by `read_preferences`.
    """
    return _rows(source, split, check_columns(columns), _answered)


def _rows(
    source: str, split: str, columns: dict[str, str], read: Callable[[RawRow, int, Mapping[str, str]], T]
) -> Iterator[T | BadRecord]:
    for number, row in enumerate(open_source(source, split), 1):
        try:
            yield read(row, number, columns)
        except (FieldError, LayoutError, ConversationError) as error:
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


def _values(row: RawRow, wanted: str) -> dict[str, Any]:
    if row.problem:
        raise FieldError("", row.problem)
    if not isinstance(row.value, dict):
        raise FieldError("", f"the row is a {type(row.value).__name__}; it must be an object with {wanted}")
    return row.value


def _pair(row: RawRow, number: int, columns: Mapping[str, str]) -> PreferencePair:
    values = _values(row, "prompt, chosen, rejected")
    if values.get("chosen_turn_ids") is not None:
        return _conversations(row, values, number)
    fields, read = canonical(values, columns)
    read.add("short_prompt")
    chosen, rejected = text_or_messages(fields, "chosen", values), text_or_messages(fields, "rejected", values)
    prompt = text_or_messages(fields, "prompt", values) if "prompt" in fields else None
    before = _before(fields, prompt, chosen)
    if isinstance(chosen, str) and isinstance(rejected, str) and not isinstance(prompt, list) and not before:
        text, chosen, rejected = _texts(prompt, chosen, rejected, _unread(values, read))
        whole: str | tuple[Turn, ...] = text
    else:
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        messages, chosen, rejected = joined([*before, *(prompt or [])], turns_of(chosen), turns_of(rejected))
        check_roles(messages)
        whole = tuple(messages)
    origin = origin_of(values)
    if not columns and origin is None:
        _refuse_unread(values, read, whole)
    return PreferencePair(
        id=name_of(fields, "id") or str(number),
        prompt=whole,
        chosen=chosen,
        rejected=rejected,
        chosen_reward=reward_of(fields, "chosen_reward"),
        rejected_reward=reward_of(fields, "rejected_reward"),
        chosen_ended=flag_of(fields, "chosen_ended"),
        rejected_ended=flag_of(fields, "rejected_ended"),
        chosen_mask=span_of(values, "chosen_mask"),
        rejected_mask=span_of(values, "rejected_mask"),
        chosen_ids=ids_of(values, "chosen_token_ids"),
        rejected_ids=ids_of(values, "rejected_token_ids"),
        shared_ids=shared_ids_of(values),
        tools=tools_of(fields),
        prompt_id=name_of(fields, "prompt_id"),
        short_prompt=short_prompt_of(values, as_messages=not isinstance(whole, str)),
        group=group_of(values),
        origin=origin,
        where=f"{row.file}:{row.line}",
    )


def _answered(row: RawRow, number: int, columns: Mapping[str, str]) -> PreferencePair | Demonstration:
    values = _values(row, "a prompt and an answer")
    if values.get("chosen_turn_ids") is not None:
        return _conversations(row, values, number)
    fields, read = canonical(values, columns, optional=("rejected",))
    read.add("short_prompt")
    if "rejected" in fields and "answer" not in fields:
        return _pair(row, number, columns)
    name = next((name for name in ("answer", "chosen", "messages") if name in fields), "")
    if not name:
        raise FieldError("answer", f"missing; name it with columns: {{answer: NAME}} (the row has {names_in(values)})")
    answer = text_or_messages(fields, name, values)
    if isinstance(answer, str) and "messages" in fields:
        conversation = messages_of(fields["messages"], "messages")
        if conversation[-1]["role"] == "assistant" and conversation[-1]["content"].strip() == answer.strip():
            name, answer = "messages", conversation  # the whole conversation is in the row, too
    if name == "messages":
        del fields["messages"]
    prompt = text_or_messages(fields, "prompt", values) if "prompt" in fields else None
    before = _before(fields, prompt, answer)
    whole: str | tuple[Turn, ...]
    if isinstance(answer, str) and isinstance(prompt, str) and not before:
        whole, text = prompt, answer
    else:
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        turns, text = split_answer([*before, *(prompt or [])], turns_of(answer), name)
        check_roles(turns)
        whole = tuple(turns)
    origin = origin_of(values)
    if not columns and origin is None:
        _refuse_unread(values, read, whole, copies=True)
    return Demonstration(
        id=name_of(fields, "id") or str(number),
        prompt=whole,
        answer=Answer(
            text,
            flag_of(fields, "chosen_ended"),
            span_of(values, "chosen_mask"),
            ids_of(values, "chosen_token_ids"),
        ),
        shared_ids=shared_ids_of(values),
        tools=tools_of(fields),
        prompt_id=name_of(fields, "prompt_id"),
        origin=origin,
        where=f"{row.file}:{row.line}",
    )


def _conversations(row: RawRow, value: Mapping[str, Any], number: int) -> PreferencePair:
    """Return the pair of a row of our own files that compares conversations."""
    prompt = messages_of(value.get("prompt"), "prompt")
    check_roles(prompt)
    sides = [_sampled_turns(value, side) for side in ("chosen", "rejected")]
    (shared,) = numbers({"shared_turns": [value.get("shared_turns")]}, "shared_turns") or (0,)
    if shared >= min(map(len, sides)) or sides[0][:shared] != sides[1][:shared]:
        raise FieldError("shared_turns", f"is {shared}; both conversations must begin with as many equal turns")
    return PreferencePair.of_conversations(
        name_of(value, "id") or str(number),
        tuple(prompt),
        *sides,
        chosen_reward=reward_of(value, "chosen_reward"),
        rejected_reward=reward_of(value, "rejected_reward"),
        shared_turns=shared,
        imitated=flag_of(value, "imitated"),
        origin=origin_of(value),
        where=f"{row.file}:{row.line}",
    )


def _sampled_turns(row: Mapping[str, Any], side: str) -> list[SampledTurn]:
    messages = messages_of(row.get(side), side)
    ids, ended = row.get(f"{side}_turn_ids"), row.get(f"{side}_turn_ended")
    for name, column in ((f"{side}_turn_ids", ids), (f"{side}_turn_ended", ended)):
        if not isinstance(column, list) or len(column) != len(messages):
            raise FieldError(name, f"is {quoted(column)}; give a list with one value for each turn of {side}")
    assert ids is not None
    assert ended is not None
    turns = []
    for place, message in enumerate(messages):
        role = "user" if place % 2 else "assistant"
        if message["role"] != role:
            raise FieldError(f"{side}[{place}].role", f"is {shown(message['role'], 20)}; it must be {role}")
        own = numbers({"turn": ids[place]}, "turn") if ids[place] else ()
        if own and max(own) >= 2**31:
            raise FieldError(f"{side}_turn_ids[{place}]", "has a number that is no token id")
        turns.append(SampledTurn(role, message["content"], own or (), flag_of({"turn": ended[place]}, "turn")))
    if len(turns) % 2 == 0:
        raise FieldError(side, "ends with a user's turn; it must end with the assistant's")
    return turns


# the prompt of a row


def _before(fields: Mapping[str, Any], prompt: str | list[Turn] | None, chosen: str | list[Turn]) -> list[Turn]:
    """Return the turns in separate columns: system, earlier turns, the question."""
    turns: list[Turn] = []
    if (system := fields.get("system")) is not None:
        turns.append({"role": "system", "content": checked_text(system, "system")})
    if (earlier := fields.get("messages")) is not None:
        given = messages_of(earlier, "messages")
        # UltraFeedback repeats the better conversation in this column.
        if not (isinstance(chosen, list) and given[: len(chosen)] == chosen):
            turns += given
    if (question := fields.get("question")) is not None and prompt is None:
        if isinstance(question, list):
            turns += messages_of(question, "question")
        else:
            turns.append({"role": "user", "content": checked_text(question, "question")})
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
        raise FieldError("prompt", "missing, and chosen and rejected have no beginning in common; give the prompt")
    return prompt, chosen[len(prompt) :], rejected[len(prompt) :]


def _unread(row: Mapping[str, Any], read: set[str]) -> list[str]:
    return [
        name
        for name, value in row.items()
        if isinstance(name, str) and looks_like_a_question(name) and name not in read and value not in (None, "", [])
    ]


def _refuse_unread(row: Mapping[str, Any], read: set[str], prompt: str | Sequence[Turn], copies: bool = False) -> None:
    """Refuse an unread column that looks like a part of the prompt, unless the prompt contains its text.

    Args:
        row: the row of the file.
        read: columns that were read.
        prompt: the prompt that they make.
        copies: whether a column may repeat all texts that were read, as Alpaca's `text` does.
    """
    texts = [value.strip() for name in read if isinstance(value := row.get(name), str)]
    spoken = prompt if isinstance(prompt, str) else "\n".join(str(turn["content"]) for turn in prompt)
    for name in _unread(row, read):
        value = row[name]
        known = isinstance(value, str) and (
            value.strip() in spoken or (copies and bool(texts) and all(text in value for text in texts))
        )
        if not known:
            raise _unread_error(name)


def _unread_error(name: str) -> FieldError:
    return FieldError(
        name, "looks like a part of the prompt and is not read; name it with columns (question: NAME), or remove it"
    )


def first_lines(problems: Sequence[BadRecord], shown: int = 10) -> str:
    """Return the first problems, one per line, and how many more there are."""
    lines = [f"  {problem}" for problem in problems[:shown]]
    return "\n".join(lines if len(problems) <= shown else [*lines, f"  ... and {len(problems) - shown} more"])
