"""Preference data from anywhere: ours, TRL's forms, or older ones; every row is checked where it enters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.data.readers import BadRecord
from longmab_pl.data.sources import RawRow, open_source

Message = dict[str, str]

_REWARDS = {
    "chosen": ("chosen_reward", "chosen_score", "score_chosen", "chosen_rating"),
    "rejected": ("rejected_reward", "rejected_score", "score_rejected", "rejected_rating"),
}


@dataclass(frozen=True)
class Preference:
    """One prompt with a better and a worse answer, as text.

    Args:
        id: the row's, or its number; pairs of one record may share it.
        prompt: messages up to the assistant's turn, or the text itself, to which no chat template is applied.
        chosen: what follows: the assistant's better turn, or the text's better continuation.
        rejected: the worse one.
        chosen_reward: its score, 0 where the data has none.
        rejected_reward: likewise.
        chosen_ended: the answer ended by itself, so that its end is learned too.
        rejected_ended: likewise.
        where: file and line.
    """

    id: str
    prompt: tuple[Message, ...] | str
    chosen: str
    rejected: str
    chosen_reward: float
    rejected_reward: float
    chosen_ended: bool
    rejected_ended: bool
    where: str


def read_preferences(source: str, split: str = "train") -> Iterator[Preference | BadRecord]:
    """The rows of a preference file or data set; in place of each one that is malformed what is wrong with it.

    Fields: `chosen` and `rejected`, and `prompt` where they do not hold it themselves. Each is a text or a list of
    messages (`role`, `content`):

    - messages: `prompt` up to the assistant's turn, `chosen` and `rejected` one assistant message each (or its text);
    - whole conversations in `chosen` and `rejected`: what they have in common is the prompt (a `prompt` beside them
      that they begin with is not repeated);
    - texts: `prompt` as it is, and what follows it; without `prompt`, what `chosen` and `rejected` have in common up
      to the last white space.

    Optional: `id`, `chosen_reward`/`rejected_reward` (also `score_chosen`, `chosen_score`, ...), and
    `chosen_ended`/`rejected_ended` (False: the answer was cut off at a length limit).

    Args:
        source: as in `longmab_pl.data.readers.read_records`.
        split: of a folder or a data set whose name does not say.

    Raises:
        DataError: the source cannot be read.
    """
    for number, row in enumerate(open_source(source, split), 1):
        try:
            yield _preference(row, number)
        except _FieldError as error:
            yield BadRecord(row.file, row.line, error.field, str(error))


class _FieldError(Exception):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _preference(row: RawRow, number: int) -> Preference:
    if row.problem:
        raise _FieldError("", row.problem)
    fields = row.value
    if not isinstance(fields, dict):
        raise _FieldError(
            "", f"the row is a {type(fields).__name__}; it must be an object with prompt, chosen, rejected"
        )
    chosen, rejected = _side(fields, "chosen"), _side(fields, "rejected")
    prompt = _side(fields, "prompt") if fields.get("prompt") is not None else None
    if isinstance(chosen, str) and isinstance(rejected, str) and not isinstance(prompt, list):
        if prompt is None:
            prompt, chosen, rejected = _common_text(chosen, rejected)
    else:
        prompt, chosen, rejected = _conversation(prompt, _turns(chosen), _turns(rejected))
    name = fields.get("id")
    if name is not None and (isinstance(name, bool) or not isinstance(name, str | int)):
        raise _FieldError("id", f"is {_shown(name)}; give a text or an integer")
    return Preference(
        id=str(number if name is None else name),
        prompt=prompt if isinstance(prompt, str) else tuple(prompt),
        chosen=chosen,
        rejected=rejected,
        chosen_reward=_reward(fields, "chosen"),
        rejected_reward=_reward(fields, "rejected"),
        chosen_ended=_flag(fields, "chosen_ended"),
        rejected_ended=_flag(fields, "rejected_ended"),
        where=f"{row.file}:{row.line}",
    )


def _side(fields: dict[str, Any], name: str) -> str | list[Message]:
    value = fields.get(name)
    if value is None:
        there = ", ".join(map(str, list(fields)[:8])) or "nothing"
        raise _FieldError(name, f"missing; give a text or a list of messages (the row has {there})")
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise _FieldError(name, f"is {_shown(value)}; give a text or a list of messages")
    if not value:
        raise _FieldError(name, "is an empty list; give at least one message")
    messages = []
    for place, message in enumerate(value):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _FieldError(f"{name}[{place}]", f"is {_shown(message)}; a message has a role and a content")
        if not isinstance(message.get("content"), str):
            raise _FieldError(
                f"{name}[{place}].content", f"is {_shown(message.get('content'))}; only texts can be trained on"
            )
        messages.append({"role": message["role"], "content": message["content"]})
    return messages


def _turns(side: str | list[Message]) -> list[Message]:
    return [{"role": "assistant", "content": side}] if isinstance(side, str) else side


def _conversation(
    prompt: str | list[Message] | None, chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], str, str]:
    """Prompt messages and the two final assistant turns."""
    common = 0
    # The last message of either is an answer, even where both are the same.
    while common < min(len(chosen), len(rejected)) - 1 and chosen[common] == rejected[common]:
        common += 1
    shared, chosen, rejected = chosen[:common], chosen[common:], rejected[common:]
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if len(side) != 1 or side[0]["role"] != "assistant":
            roles = ", ".join(message["role"] for message in side)
            raise _FieldError(name, f"differs from the other in the turns {roles}; one assistant turn can be compared")
    first = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt or []
    # A conversation that begins with the prompt (after a system message of its own) already holds it.
    spoken = [message for message in shared if message["role"] != "system"]
    messages = shared if spoken[: len(first)] == first or shared[: len(first)] == first else [*first, *shared]
    if not messages:
        raise _FieldError("prompt", "missing, and chosen and rejected have no turn in common; give the prompt")
    if messages[-1]["role"] == "assistant":
        raise _FieldError("prompt", "ends with an assistant's turn; it must end before the turn that is compared")
    return messages, chosen[0]["content"], rejected[0]["content"]


def _common_text(chosen: str, rejected: str) -> tuple[str, str, str]:
    """The common beginning of two texts as the prompt, up to and without the white space before the first
    difference."""
    common = 0
    while common < min(len(chosen), len(rejected)) and chosen[common] == rejected[common]:
        common += 1
    while common and not chosen[common - 1].isspace():
        common -= 1
    prompt = chosen[:common].rstrip(" ")
    if not prompt.strip():
        raise _FieldError("prompt", "missing, and chosen and rejected have no beginning in common; give the prompt")
    return prompt, chosen[len(prompt) :], rejected[len(prompt) :]


def _reward(fields: dict[str, Any], side: str) -> float:
    for name in _REWARDS[side]:
        value = fields.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                raise _FieldError(name, f"is {_shown(value)}; give a number, or leave it out")
            return float(value)
    return 0.0


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise _FieldError(name, f"is {_shown(value)}; give true or false, or leave it out")
    return value is not False


def _shown(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def first_lines(problems: Sequence[BadRecord], shown: int = 10) -> str:
    """The first of them, a line each, and how many more there are."""
    lines = [f"  {problem}" for problem in problems[:shown]]
    return "\n".join(lines if len(problems) <= shown else [*lines, f"  ... and {len(problems) - shown} more"])
