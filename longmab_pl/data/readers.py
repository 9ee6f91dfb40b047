"""Readers of QA records: every record is checked when it is read, and every bad one is reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from longmab_pl.checks import at_least, one_of
from longmab_pl.data import qa_fields
from longmab_pl.data.evidence import evidence_spans
from longmab_pl.data.no_answer import PHRASES
from longmab_pl.data.qa_fields import FieldError, kind
from longmab_pl.data.records import QARecord
from longmab_pl.data.sources import RawRow, open_source
from longmab_pl.data.writing_fields import instruction, is_instruction, required_length
from longmab_pl.errors import DataError
from longmab_pl.shown import quoted

OnBadRecord = Literal["error", "skip"]

_SHOWN = 10


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be used.

    Args:
        file: the file, or the data set's name.
        line: line number in a JSON Lines file, record number elsewhere; from 1.
        field: the invalid field, or "" for the whole record.
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
    """Contents of a source: the usable records in order, and the bad ones with the reason."""

    source: str
    records: list[QARecord]
    bad: list[BadRecord]

    def skipped(self) -> str:
        """Return how many bad records were skipped, and the first ten of them, one per line."""
        return "\n".join([f"{len(self.bad)} bad records skipped in {self.source}:", *first_of_each(self.bad)])

    def summary(self) -> str:
        """Return one line on the source, and one for each of the first bad records."""
        lines = [f"{self.source}: {len(self.records)} records"]
        if self.bad:
            lines[0] += f", {len(self.bad)} bad ones skipped:"
            lines += first_of_each(self.bad)
        return "\n".join(lines)


def read_records(
    source: str,
    *,
    on_bad_record: OnBadRecord = "error",
    limit: int | None = None,
    split: str = "train",
    fields: Mapping[str, str] | None = None,
) -> RecordFile:
    """Read and check QA records.

    Fields: `id` or `_id` (string or integer; missing: the record's number from 1, as the authors' evaluator does),
    the question in `input`, `question` or `query`, gold answers in `answer` and/or `answers` (a string, a number or a
    list; both: all of them, `answer` first), and `context` (a text or a list of passages). Null, "" and [] beside a
    filled name mean "unused". SQuAD, HotpotQA, 2WikiMultihopQA, MuSiQue and LongBench are read without conversion
    (`data.qa_fields`). What a row says of its evidence is kept (`data.evidence`). Other fields are ignored.

    A row with `answerable: false` (MuSiQue, `longmab synthesize`) has no answer in its context: its gold answers are
    the phrases that say so (`data.no_answer`).

    A row with an `instruction` or a `prompt`, and with neither question nor context, is a writing instruction
    (`data.writing_fields`); its required length in words is in `length` or `target_length`.

    Args:
        source: a `.jsonl`, `.json` (a list, or SQuAD's form), `.csv`, `.tsv` (each also `.gz`) or `.parquet` file; a
            folder of such files or one made by `datasets.save_to_disk`; `shipped:NAME` for a set that comes with the
            package; or a Hugging Face data set as `owner/name`, `owner/name:config` or `owner/name:config:split`.
        on_bad_record: "error" refuses the source and lists its first bad records; "skip" leaves them out and reports
            all of them in `RecordFile.bad`.
        limit: maximum number of usable records; later ones are not checked.
        split: split of a folder or data set whose name does not give one.
        fields: our names -> the data's names, where they differ: `{question: ask, context: body}`.

    Raises:
        DataError: the source cannot be read, has bad records (`on_bad_record="error"`), or has no usable one.
        ConfigError: an argument is out of range.
    """
    one_of("on_bad_record", on_bad_record, ("error", "skip"), "use 'error' or 'skip'")
    at_least("limit", limit, 1, "give a positive number, or null for all records", or_null=True)
    records: list[QARecord] = []
    bad: list[BadRecord] = []
    for _, record in checked_records(source, split, fields):
        if isinstance(record, BadRecord):
            bad.append(record)
            continue
        records.append(record)
        if limit is not None and len(records) == limit:
            break
    if bad and (on_bad_record == "error" or not records):
        advice = "fix them, or set on_bad_record: skip to go on without them"
        raise DataError(
            "\n".join(
                [
                    f"{source}: {len(bad)} of {len(bad) + len(records)} records cannot be used; "
                    f"{advice if records else 'no usable record is left'}:",
                    *first_of_each(bad),
                ]
            )
        )
    if not records:
        raise DataError(f"{source}: no records; it needs at least one with id, input (or question), answer and context")
    return RecordFile(str(source), records, bad)


def checked_records(
    source: str, split: str = "train", fields: Mapping[str, str] | None = None
) -> Iterator[tuple[int, QARecord | BadRecord]]:
    """Yield the line number of every row with its record or its error. Arguments and errors as for `read_records`."""
    names = qa_fields.check_fields(fields)
    seen: dict[str, str] = {}
    for number, row in enumerate(open_source(str(source), split), start=1):
        try:
            record = _record(row, number, names)
            if record.id in seen:
                taken = f"{quoted(record.id)} is taken by {seen[record.id]}; give every record its own id"
                raise FieldError("id", taken)
        except FieldError as error:
            yield row.line, BadRecord(row.file, row.line, error.field, str(error))
            continue
        seen[record.id] = f"{row.file}:{row.line}"
        yield row.line, record


def first_of_each(bad: Sequence[BadRecord]) -> list[str]:
    """Return one line for each different problem with the first record that has it, at most ten, and how many more
    there are."""
    kinds: dict[tuple[str, str], list[BadRecord]] = {}
    for problem in bad:
        kinds.setdefault((problem.field, problem.message), []).append(problem)
    lines = []
    for same in list(kinds.values())[:_SHOWN]:
        more = f" (and {len(same) - 1} more like it)" if len(same) > 1 else ""
        lines.append(f"  {same[0]}{more}")
    rest = sum(map(len, list(kinds.values())[_SHOWN:]))
    return [*lines, f"  ... and {rest} more"] if rest else lines


def _record(row: RawRow, number: int, fields: Mapping[str, str]) -> QARecord:
    if row.problem:
        raise FieldError("", row.problem)
    if not isinstance(row.value, dict):
        raise FieldError(
            "", f"the record is {kind(row.value)}; it must be an object with id, input, answer and context"
        )
    if is_instruction(row.value, fields):
        return QARecord(
            id=qa_fields.record_id(row.value, number, fields),
            question=instruction(row.value),
            answers=(),
            context="",
            length=required_length(row.value),
        )
    _refuse_preferences(row.value)
    answerable = row.value.get("answerable") is not False
    record = QARecord(
        id=qa_fields.record_id(row.value, number, fields),
        question=qa_fields.question(row.value, fields),
        answers=qa_fields.answers(row.value, fields) if answerable else PHRASES,
        context=qa_fields.context(row.value, fields),
        answerable=answerable,
    )
    return replace(record, evidence=evidence_spans(row.value, record.context, fields) if answerable else ())


def _refuse_preferences(row: Mapping[str, Any]) -> None:
    if "chosen" in row and "rejected" in row and "context" not in row:
        raise FieldError("chosen", "this is preference data; train on it with longmab_pl.PreferenceDataModule")
