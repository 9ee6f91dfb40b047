"""Column names of preference and SFT data: TRL, Orca, Alpaca, UltraFeedback, ShareGPT, Argilla, LongReward.

A layout renames columns to those of `longmab_pl.pairs.readers`; it does not interpret texts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from longmab_pl.errors import ConfigError
from longmab_pl.shown import quoted, shown

COLUMNS = (
    "prompt",
    "context",
    "question",
    "system",
    "messages",
    "chosen",
    "rejected",
    "answer",
    "tools",
    "id",
    "prompt_id",
    "chosen_reward",
    "rejected_reward",
    "chosen_ended",
    "rejected_ended",
)
"""Columns that the reader knows; the keys of a `columns` mapping. `prompt` is a plain text or messages; `question` is
the user's message, with `context` before it; `answer` is an answer without a worse one."""

# Other names of these columns, in the order in which they are tried.
_ALIASES = {
    "question": ("question", "query", "instruction"),
    "chosen": ("chosen", "chosen_response", "response_chosen", "response_j", "win_response"),
    "rejected": ("rejected", "rejected_response", "response_rejected", "response_k", "lose_response"),
    "system": ("system", "system_prompt"),
    "chosen_reward": (
        "chosen_reward",
        "chosen_score",
        "score_chosen",
        "chosen_rating",
        "chosen-rating",
        "chosen_avg_rating",
    ),
    "rejected_reward": (
        "rejected_reward",
        "rejected_score",
        "score_rejected",
        "rejected_rating",
        "rejected-rating",
        "rejected_avg_rating",
    ),
}

_ANSWERS = ("answer", "response", "completion", "output")
"""Names of an answer without a worse one. They have no order: two of them in a row could be two answers."""

_QUESTION_LIKE = re.compile(
    r"(.*[_\- .])?(prompt|question|query|instruction|problem|input|message|conversation|dialog|dialogue|document"
    r"|context|passage)s?|queries|system|history|user|human|text|post|ask|request",
    re.IGNORECASE,
)


def looks_like_a_question(column: str) -> bool:
    """Return whether a column's name suggests a part of the prompt, so that it must not be ignored silently."""
    return _QUESTION_LIKE.fullmatch(column) is not None


class LayoutError(Exception):
    """A row without a known layout; `field` names the invalid field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return a checked `columns` mapping.

    Args:
        columns: the reader's names -> the data's names: `{question: ask, chosen: good, rejected: bad}`.

    Raises:
        ConfigError: a key is not one of `COLUMNS`.
    """
    for name, theirs in (columns or {}).items():
        if name not in COLUMNS or not isinstance(theirs, str):
            turned = f" (did you mean {theirs}: {shown(str(name))}?)" if theirs in COLUMNS else ""
            raise ConfigError(
                f"columns: {quoted(name)} is no column of a pair{turned}; give some of {', '.join(COLUMNS)}, each with "
                "the name that your data has for it"
            )
    return dict(columns or {})


def canonical(
    row: Mapping[str, Any], columns: Mapping[str, str], optional: Collection[str] = ()
) -> tuple[dict[str, Any], set[str]]:
    """Return a row under the reader's names, without null values, and the set of original names that were read.

    Args:
        row: the row of the file.
        columns: a checked `columns` mapping; it has priority over every layout.
        optional: the reader's names that a row may lack although they are mapped.

    Raises:
        LayoutError: a mapped column is missing, or a column of the row's layout has an invalid value.
    """
    found: dict[str, Any] = {}
    read: set[str] = set()
    for name, theirs in columns.items():
        if theirs not in row:
            if name in optional:
                continue
            raise LayoutError(theirs, f"missing; columns says that it holds the {name} (the row has {_names(row)})")
        read.add(theirs)
        if row[theirs] is not None:
            found[name] = row[theirs]
    present = {name: value for name, value in row.items() if value is not None and name not in read}
    for name in COLUMNS:
        if name in found or name in ("answer", "context") or (name == "question" and "prompt" in found):
            continue
        for alias in _ALIASES.get(name, (name,)):
            if alias in present and not (name in ("question", "system") and present[alias] == ""):
                found[name] = present[alias]
                read.add(alias)
                break
    if "completions" in present and "chosen" not in found:
        _ultrafeedback(present["completions"], found)
        read.add("completions")
    if "conversations" in present and "messages" not in found:
        found["messages"] = [
            _sharegpt(turn, f"conversations[{i}]") for i, turn in enumerate(_list(present, "conversations"))
        ]
        read.add("conversations")
    if "chosen" not in found and "rejected" not in found and "answer" not in found:
        _answer_alone(present, found, read)
    for side in ("chosen", "rejected", "answer"):
        if isinstance(found.get(side), dict):
            found[side] = [found[side]]
        if isinstance(found.get(side), list):
            found[side] = [_sharegpt(turn, f"{side}[{i}]") for i, turn in enumerate(found[side])]
    if not columns and "prompt" not in found:
        _input(present, found, read)
        _context(present, found, read)
    elif "context" in columns:
        _before_question(found.pop("context", ""), found)
    read |= {name for name in ("system", "question") if name in present and present[name] == ""}
    return found, read


def _input(present: Mapping[str, Any], found: dict[str, Any], read: set[str]) -> None:
    """Add the `input` column: the subject of `instruction` (Alpaca), or the question itself (Argilla's Orca pairs)."""
    text, question = present.get("input"), found.get("question")
    if not isinstance(text, str):
        return
    if question is None and "messages" not in found:
        if text.strip():
            found["question"] = text
            read.add("input")
    elif isinstance(question, str) and "instruction" in read:
        found["question"] = f"{question}\n\n{text}" if text.strip() else question
        read.add("input")


def _context(present: Mapping[str, Any], found: dict[str, Any], read: set[str]) -> None:
    """Put the `context` column of LongReward's pairs, and of answers without a worse one, before the question."""
    text, question = present.get("context"), found.get("question")
    own = "win_response" in read or "rejected" not in found
    if own and isinstance(text, str) and isinstance(question, str):
        _before_question(text, found)
        read.add("context")


def _before_question(text: Any, found: dict[str, Any]) -> None:
    """Put a text before the question, with a blank line between."""
    question = found.get("question")
    if not isinstance(text, str):
        raise LayoutError("context", f"is {quoted(text)}; give a text")
    if not isinstance(question, str):
        raise LayoutError("context", "has no question behind it; name the question's column with columns, too")
    found["question"] = f"{text}\n\n{question}" if text.strip() else question


def _answer_alone(present: Mapping[str, Any], found: dict[str, Any], read: set[str]) -> None:
    """Add the answer of a row that has no worse one, if it is in a column of its own."""
    names = [name for name in _ANSWERS if name in present]
    if len(names) > 1:
        raise LayoutError(
            names[1], f"and {names[0]} may both be the answer; say which with columns: {{answer: {names[0]}}}"
        )
    if names:
        found["answer"] = present[names[0]]
        read.add(names[0])


def _ultrafeedback(completions: Any, found: dict[str, Any]) -> None:
    """Add the best and the worst of several scored answers (the original UltraFeedback)."""
    if not isinstance(completions, list) or len(completions) < 2:
        raise LayoutError("completions", f"is {quoted(completions)}; give at least two answers with an overall_score")
    for place, one in enumerate(completions):
        score = one.get("overall_score") if isinstance(one, dict) else None
        if isinstance(score, bool) or not isinstance(score, int | float) or not isinstance(one.get("response"), str):
            raise LayoutError(f"completions[{place}]", f"is {quoted(one)}; it needs a response and an overall_score")
    best = max(completions, key=lambda one: one["overall_score"])
    worst = min(completions, key=lambda one: one["overall_score"])
    found["chosen"], found["rejected"] = best["response"], worst["response"]
    found["chosen_reward"], found["rejected_reward"] = best["overall_score"], worst["overall_score"]


_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "observation": "tool"}


def _sharegpt(turn: Any, where: str) -> Any:
    """Return a ShareGPT turn (`from`, `value`) as a message; other values unchanged."""
    if not isinstance(turn, dict) or "role" in turn or "from" not in turn:
        return turn
    if not isinstance(turn["from"], str):
        raise LayoutError(f"{where}.from", f"is {quoted(turn['from'])}; give who speaks, as text")
    return {"role": _SHAREGPT_ROLES.get(turn["from"], turn["from"]), "content": turn.get("value")}


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row[name]
    if not isinstance(value, list):
        raise LayoutError(name, f"is {quoted(value)}; give a list of turns")
    return value


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(shown(str(name)) for name in list(row)[:8]) or "nothing"
