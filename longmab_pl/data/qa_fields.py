"""Fields of a question-answering row of any common format: id, question, gold answers and context.

Formats: ours and LongBench's (`_id, input, context, answers`), InfiniteBench's (`answer`), SQuAD's (file and hub),
HotpotQA's and 2WikiMultihopQA's (titles with sentences), MuSiQue's (`paragraphs`), and flat columns as in CSV.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from longmab_pl.errors import ConfigError
from longmab_pl.shown import quoted, shown

FIELDS = ("id", "question", "answers", "context")
"""The keys of a `fields` mapping."""

_NAMES = {
    "id": ("id", "_id"),
    "question": ("input", "question", "query"),
    "answers": ("answer", "answers", "answer_aliases"),
    "context": ("context", "contexts", "paragraphs", "passages", "documents", "ctxs"),
}


class FieldError(Exception):
    """A row that cannot be used; `field` names the invalid field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_fields(fields: Mapping[str, str] | None) -> dict[str, str]:
    """Return a checked `fields` mapping.

    Args:
        fields: our names -> the data's names: `{question: ask, context: body}`.

    Raises:
        ConfigError: a key is not one of `FIELDS`.
    """
    for name, theirs in (fields or {}).items():
        if name not in FIELDS or not isinstance(theirs, str):
            turned = f" (did you mean {theirs}: {shown(str(name))}?)" if theirs in FIELDS else ""
            raise ConfigError(
                f"fields: {quoted(name)} is no field of a record{turned}; give some of {', '.join(FIELDS)}, each with "
                "the name that your data has for it"
            )
    return dict(fields or {})


def record_id(row: Mapping[str, Any], number: int, fields: Mapping[str, str] | None = None) -> str:
    """Return a row's id, a string or an integer; without one, the row's number, as in the authors' evaluator."""
    name = _first_filled(row, _names("id", fields))
    if name is None:
        if any(row.get(blank) is not None for blank in _names("id", fields)):
            raise FieldError("id", "is empty or blank; fill it in or leave it out")
        return str(number)
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise FieldError(name, f"is {kind(value)}; give a string or an integer")
    if isinstance(value, str):
        return checked_text(name, value)
    if abs(value) >= 2**63:
        raise FieldError(name, "is too large an integer; give a string")
    return str(value)


def question(row: Mapping[str, Any], fields: Mapping[str, str] | None = None, *, required: bool = True) -> str:
    """Return the question. Of two question fields, LongBench leaves the unused one empty."""
    names = _names("question", fields)
    name = _first_filled(row, names)
    if name is None:
        blank = next((name for name in names if row.get(name) is not None), None)
        if not required:
            return ""
        if blank is not None:
            raise FieldError(blank, "is empty or blank; fill it in or remove the record")
        raise FieldError(names[0], f"missing; add {' or '.join(names)}{_other_fields(row)}")
    value = row[name]
    if not isinstance(value, str):
        raise FieldError(name, f"is {kind(value)}; give a string")
    return checked_text(name, value) if required or value.strip() else ""


def answers(row: Mapping[str, Any], fields: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the gold answers of all fields, without duplicates. Numbers keep their written form. Blank answers beside
    others are dropped, because every response would contain them."""
    names = _names("answers", fields)
    present = [name for name in names if row.get(name) is not None and name != "answer_aliases"]
    if not present:
        raise FieldError(names[0], f"missing; add answer (a string) or answers (a list){_other_fields(row)}")
    golds: dict[str, None] = {}
    for name in names:
        for gold in _golds(name, row.get(name)):
            if gold.strip():
                golds[_whole(name, gold)] = None
    if not golds:
        # The field that should have them, where one of two is unused.
        name = next((name for name in present if row[name] != []), present[0])
        what = "is an empty list" if row[name] == [] else "is empty or blank"
        raise FieldError(name, f"{what}; give at least one gold answer")
    return tuple(golds)


def context(row: Mapping[str, Any], fields: Mapping[str, str] | None = None) -> str:
    """Return the long text. Passages are separated by blank lines, each after its title."""
    names = _names("context", fields)
    name = _first_filled(row, names)
    if name is None:
        blank = next((name for name in names if row.get(name) is not None), None)
        if blank is not None:
            raise FieldError(blank, "is empty or blank; fill it in or remove the record")
        raise FieldError(names[0], f"missing; add context{_other_fields(row)}")
    value = row[name]
    if isinstance(value, str):
        return checked_text(name, value)
    text = "\n\n".join(_passages(name, value))
    return checked_text(name, text)


def context_passages(row: Mapping[str, Any], fields: Mapping[str, str] | None = None) -> list[str] | None:
    """Return the passages that `context` joins; None if the context is one text or missing."""
    name = _first_filled(row, _names("context", fields))
    return None if name is None or isinstance(row[name], str) else _passages(name, row[name])


def checked_text(name: str, value: str) -> str:
    """Return the text if it is valid and not blank.

    Raises:
        FieldError: the text is blank or has an unpaired surrogate.
    """
    if not value.strip():
        raise FieldError(name, "is empty or blank; fill it in or remove the record")
    return _whole(name, value)


def half_character(text: str) -> str:
    """Return what is wrong with a text that has an unpaired surrogate, which no file or tokenizer accepts; else ""."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"holds half a surrogate pair at character {error.start}; write the character itself"
    return ""


def has_field(row: Mapping[str, Any], field: str, fields: Mapping[str, str] | None = None) -> bool:
    """Return whether a row has a field of `FIELDS` under one of its names, even if it is blank."""
    return any(row.get(name) is not None for name in _names(field, fields))


def is_record(row: Mapping[str, Any]) -> bool:
    """Return whether a row has the fields of a record: a question, gold answers and a context, even if they are blank.

    Args:
        row: a row of any file.
    """
    return all(has_field(row, field) for field in ("question", "answers", "context"))


def _names(field: str, fields: Mapping[str, str] | None) -> tuple[str, ...]:
    return (fields[field],) if fields and field in fields else _NAMES[field]


def _first_filled(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first name whose field is filled; null, "" and [] beside a filled one mean "unused"."""
    return next((name for name in names if row.get(name) is not None and row[name] not in ("", [])), None)


def _whole(name: str, value: str) -> str:
    if problem := half_character(value):
        raise FieldError(name, problem)
    return value


def _golds(name: str, value: Any) -> list[str]:
    """Return the gold answers in one field."""
    if value is None:
        return []
    if isinstance(value, dict) and "text" in value:  # SQuAD on the hub: {text: [...], answer_start: [...]}
        value = value["text"]
    listed = _json_list(value) if isinstance(value, str) else value
    if not isinstance(listed, list):
        listed = [listed]
    golds = []
    for gold in listed:
        if isinstance(gold, dict) and isinstance(gold.get("text"), str):  # SQuAD's file: [{text, answer_start}]
            gold = gold["text"]
        if isinstance(gold, int | float) and not isinstance(gold, bool):
            if (isinstance(gold, float) and not math.isfinite(gold)) or abs(gold) >= 1e300:
                raise FieldError(name, "holds a number without a finite value; give the answer as text")
            gold = str(gold)
        if not isinstance(gold, str):
            raise FieldError(name, f"{'holds' if isinstance(value, list) else 'is'} {kind(gold)}; {_GIVE}")
        golds.append(gold)
    return golds


_GIVE = "give a string or a list of strings"


def _json_list(text: str) -> Any:
    """Return the list in a CSV cell that holds one as JSON; other texts unchanged."""
    if text.startswith("[") and text.endswith("]"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            return value
    return text


def _passages(name: str, value: Any) -> list[str]:
    """Return the passages of a context that is not a single text."""
    if isinstance(value, dict):  # HotpotQA and 2Wiki on the hub: columns of titles and sentences
        bodies = next(
            (value[key] for key in ("sentences", "content", "text") if isinstance(value.get(key), list)), None
        )
        titles = value.get("title")
        if bodies is None or not isinstance(titles, list) or len(titles) != len(bodies):
            raise FieldError(
                name, f"is an object; give a string, a list of passages, or title and sentences{_shown(value)}"
            )
        value = list(map(list, zip(titles, bodies, strict=True)))
    if not isinstance(value, list):
        raise FieldError(name, f"is {kind(value)}; give a string or a list of passages")
    return [_passage(name, place, passage) for place, passage in enumerate(value)]


def _passage(name: str, place: int, passage: Any) -> str:
    if isinstance(passage, str):
        return passage
    title: Any = None
    body: Any = None
    if isinstance(passage, dict):  # MuSiQue: {title, paragraph_text}; retrievers: {title, text}
        title = passage.get("title")
        keys = ("paragraph_text", "text", "content", "contents", "passage", "context")
        body = next((passage[key] for key in keys if passage.get(key) is not None), None)
    elif isinstance(passage, list) and len(passage) == 2:  # HotpotQA: [title, [sentence, ...]]
        title, body = passage
    if isinstance(body, list) and all(isinstance(sentence, str) for sentence in body):
        body = joined_sentences(body)
    if not isinstance(body, str) or not (title is None or isinstance(title, str)):
        raise FieldError(f"{name}[{place}]", f"is {kind(passage)} that is no passage; give a text, or title and text")
    return f"{title}\n{body}" if title else body


def joined_sentences(sentences: Sequence[str]) -> str:
    """Return sentences as one text, with a space where none is (HotpotQA's have it, 2WikiMultihopQA's do not)."""
    return "".join(s if s[:1].isspace() or not i else f" {s}" for i, s in enumerate(sentences))


def _shown(value: Mapping[str, Any]) -> str:
    return f" (it has {', '.join(shown(str(key)) for key in list(value)[:8])})" if value else ""


def kind(value: object) -> str:
    """Return the JSON name of a value's type."""
    names = {type(None): "null", bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
    names |= {list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def _other_fields(row: Mapping[str, Any]) -> str:
    if not row:
        return " (the record is empty)"
    return f" (the record has {', '.join(shown(str(name)) for name in list(row)[:8])})"
