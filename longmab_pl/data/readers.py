"""QA records from outside: every record is checked where it enters, and no bad one disappears without a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from longmab_pl.data.records import QARecord
from longmab_pl.data.sources import RawRow, open_source
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.shown import quoted, shown

OnBadRecord = Literal["error", "skip"]

_SHOWN = 10


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be used.

    Args:
        file: the file, or the data set's name.
        line: line number in a JSON Lines file, record number elsewhere; from 1.
        field: the field at fault, or "" where it is the whole record.
        message: what is wrong and what to do.
    """

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {f'{self.field}: ' if self.field else ''}{self.message}"


@dataclass(frozen=True)
class RecordFile:
    """What a source holds: the usable records in order, and every other one with the reason."""

    source: str
    records: list[QARecord]
    bad: list[BadRecord]

    def skipped(self) -> str:
        """How many bad records were skipped, and the first ten of them, a line each."""
        return "\n  ".join([f"{len(self.bad)} bad records skipped in {self.source}:", *map(str, self.bad[:10])])

    def summary(self) -> str:
        """One line, and one more for each of the first bad records."""
        lines = [f"{self.source}: {len(self.records)} records"]
        if self.bad:
            lines[0] += f", {len(self.bad)} bad ones skipped:"
            lines += _first(self.bad)
        return "\n".join(lines)


def read_records(
    source: str, *, on_bad_record: OnBadRecord = "error", limit: int | None = None, split: str = "train"
) -> RecordFile:
    """Read and check QA records.

    Fields: `id` or `_id` (string or integer; missing: the record's number from 1, as the authors' evaluator does),
    the question in `input` or `question`, gold answers in `answer` and/or `answers` (a string or a list; both: all of
    them, `answer` first), and `context`. Other fields are left alone.

    Args:
        source: a `.jsonl`, `.jsonl.gz`, `.json` (a list) or `.parquet` file; a folder of such files or one made by
            `datasets.save_to_disk`; `shipped:NAME` for a set that comes with the package; or a Hugging Face data set
            as `owner/name`, `owner/name:config` or `owner/name:config:split`.
        on_bad_record: "error" refuses the source and lists its first bad records; "skip" leaves them out and reports
            all of them in `RecordFile.bad`.
        limit: stop after so many usable records; what stands behind them is not checked.
        split: of a folder or a data set whose name does not say.

    Raises:
        DataError: the source cannot be read, holds bad records (`on_bad_record="error"`) or no usable one.
        ConfigError: an argument out of range.
    """
    if on_bad_record not in ("error", "skip"):
        raise ConfigError(f"on_bad_record is {on_bad_record!r}; use 'error' or 'skip'")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; give a positive number, or null for all records")
    records: list[QARecord] = []
    bad: list[BadRecord] = []
    seen: dict[str, str] = {}
    for number, row in enumerate(open_source(str(source), split), start=1):
        try:
            record = _record(row, number)
            if record.id in seen:
                raise _FieldError(
                    "id", f"{quoted(record.id)} is taken by {seen[record.id]}; give every record its own id"
                )
        except _FieldError as error:
            bad.append(BadRecord(row.file, row.line, error.field, str(error)))
            continue
        seen[record.id] = f"{row.file}:{row.line}"
        records.append(record)
        if limit is not None and len(records) == limit:
            break
    if bad and (on_bad_record == "error" or not records):
        advice = "mend them, or set on_bad_record: skip to go on without them"
        raise DataError(
            "\n".join(
                [
                    f"{source}: {len(bad)} of {len(bad) + len(records)} records cannot be used; "
                    f"{advice if records else 'no usable record is left'}:",
                    *_first(bad),
                ]
            )
        )
    if not records:
        raise DataError(f"{source}: no records; it needs at least one with id, input (or question), answer and context")
    return RecordFile(str(source), records, bad)


class _FieldError(Exception):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _first(bad: list[BadRecord]) -> list[str]:
    lines = [f"  {problem}" for problem in bad[:_SHOWN]]
    return lines if len(bad) <= _SHOWN else [*lines, f"  ... and {len(bad) - _SHOWN} more"]


def _record(row: RawRow, number: int) -> QARecord:
    if row.problem:
        raise _FieldError("", row.problem)
    fields = row.value
    if not isinstance(fields, dict):
        raise _FieldError("", f"the record is {_kind(fields)}; it must be an object with id, input, answer and context")
    return QARecord(
        id=_id(fields, number),
        question=_text(fields, ("input", "question")),
        answers=_answers(fields),
        context=_text(fields, ("context",)),
    )


def _id(fields: dict[str, Any], number: int) -> str:
    name = next((name for name in ("id", "_id") if fields.get(name) is not None), None)
    if name is None:
        return str(number)
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _FieldError(name, f"is {_kind(value)}; give a string or an integer")
    if isinstance(value, str):
        _check_text(name, value)
    return str(value)


def _text(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    present = [name for name in names if fields.get(name) is not None]
    # An empty alias next to a filled one is LongBench's way of saying "unused".
    name = next((name for name in present if fields[name] != ""), present[0] if present else None)
    if name is None:
        raise _FieldError(names[0], f"missing; add {' or '.join(names)}{_other_fields(fields)}")
    value = fields[name]
    if not isinstance(value, str):
        raise _FieldError(name, f"is {_kind(value)}; give a string")
    _check_text(name, value)
    return value


def _answers(fields: dict[str, Any]) -> tuple[str, ...]:
    present = [name for name in ("answer", "answers") if fields.get(name) is not None]
    if not present:
        raise _FieldError("answer", f"missing; add answer (a string) or answers (a list){_other_fields(fields)}")
    golds: dict[str, None] = {}
    for name in present:
        value = fields[name]
        if not isinstance(value, (str, list)):
            raise _FieldError(name, f"is {_kind(value)}; give a string or a list of strings")
        listed = [value] if isinstance(value, str) else value
        if not listed:
            raise _FieldError(name, "is an empty list; give at least one gold answer")
        for gold in listed:
            if not isinstance(gold, str):
                raise _FieldError(name, f"holds {_kind(gold)}; every gold answer must be a string (quote numbers)")
            _check_text(name, gold)
            golds[gold] = None
    return tuple(golds)


def _check_text(name: str, value: str) -> None:
    if not value.strip():
        raise _FieldError(name, "is empty or blank; fill it in or remove the record")
    if problem := half_character(value):
        raise _FieldError(name, problem)


def half_character(text: str) -> str:
    """What is wrong with a text that holds half a surrogate pair, which no file and no tokenizer takes; else ""."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"holds half a surrogate pair at character {error.start}; write the character itself"
    return ""


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
    names |= {list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def _other_fields(fields: dict[str, Any]) -> str:
    return (
        f" (the record has {', '.join(shown(str(name), 30) for name in list(fields)[:8])})"
        if fields
        else " (the record is empty)"
    )
