"""Evaluation records from a local folder or zip of JSONL files, from one JSONL file, or from the hub."""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from longmab_pl.data import qa_fields
from longmab_pl.data.qa_fields import FieldError, half_character
from longmab_pl.data.readers import BadRecord, first_of_each
from longmab_pl.data.records import QARecord
from longmab_pl.data.sources import SUFFIXES, RawRow, open_source, rows_of
from longmab_pl.errors import DataError
from longmab_pl.evaluation.longbench.table import (
    INFINITEBENCH,
    LONGBENCH,
    LONGBENCH_E,
    TASKS,
    TaskSpec,
    custom_spec,
    expand_tasks,
    groups_of,
    task_spec,
)
from longmab_pl.shown import quoted, shown

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class LongBenchItem(QARecord):
    """A LongBench record: `question` is its `input` (empty where the task asks about the context as a whole).

    Args:
        length: words (characters in Chinese) as the data set gives it, or None.
        all_classes: the labels of a classification task, or None.
        language: "en", "zh" or a programming language.
    """

    length: int | None = None
    all_classes: tuple[str, ...] | None = None
    language: str = "en"


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its place, the error, and the fix."""

    file: str
    line: int
    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: field {self.field!r}: {self.problem}"


def load_items(
    data: Path | str, task: str, *, fields: Mapping[str, str] | None = None
) -> tuple[list[LongBenchItem], TaskSpec, list[BadRow]]:
    """Return the records of one task.

    Args:
        data: source of the records:
            a folder with `<task>.jsonl` (or `.json`, `.csv`, `.tsv`, each also `.gz`, or `.parquet`) in it or in its
            `data` folder (as the official zip unpacks);
            a zip with such a member;
            such a file, in which case `task` only names it and selects its scoring (a task of the table, or any other
            name for a custom QA task);
            a hub name such as `THUDM/LongBench` or `xinrongzhang2022/InfiniteBench`.
        task: a name of the table, a LongBench-E name, or the stem of any other JSONL file there, which is asked and
            scored as a custom QA task. Rows are in LongBench's format (`input, context, answers, length, all_classes,
            _id`), InfiniteBench's (`answer`) or that of the training records (`id, input or question, answer,
            context`), or others of `longmab_pl.data.qa_fields`. Empty gold answers among others are dropped.
        fields: the data's names where they are others: `{question: ask, context: body}`.

    Returns:
        The usable records in file order, how to ask and score them, and the rows that cannot be used.

    Raises:
        ConfigError: the task is neither in the table nor a file.
        DataError: no such data, or not one usable row.
    """
    in_table = task in TASKS or task in LONGBENCH_E
    path, kind = _local(data)
    if kind == "folder":
        files = _files(path)
        if task not in files:
            task_spec(task, known=sorted(files))  # an unknown name is the likelier mistake
            raise _no_file(str(path), task, sorted(files))
        return _checked(open_source(str(files[task]), "test"), str(files[task]), task, in_table, fields)
    if kind == "zip":
        return _from_zip(path, task, in_table, fields)
    if kind == "file":
        return _checked(open_source(str(path), "test"), str(path), task, in_table, fields)
    if isinstance(data, str) and _HUB_NAME.fullmatch(data) and not data.endswith((*SUFFIXES, ".zip")):
        task_spec(task)
        return _from_hub(data, task, fields)
    raise DataError(
        f"{shown(str(data), 200)}: no such file or folder; give a folder or zip of LongBench files, or a file "
        f"({', '.join(SUFFIXES)})"
    )


def _local(data: Path | str) -> tuple[Path, Literal["folder", "zip", "file", ""]]:
    """Return a path and the kind of what it names."""
    path = Path(data)
    try:
        if path.is_dir():
            return path, "folder"
        if path.is_file():
            return path, "zip" if zipfile.is_zipfile(path) else "file"
    except (OSError, ValueError) as error:  # a name too long, or none at all
        raise DataError(f"{shown(str(data))}: is no name of a file or folder: {shown(str(error), 200)}") from error
    return path, ""


def tasks_there(data: Path | str) -> list[str]:
    """Return the names of the tasks that a folder, zip or JSONL file holds, those of the table first.

    For a hub name they are LongBench's, or InfiniteBench's if the name says so.

    A LongBench-E task whose LongBench task is there too is left out: its records are drawn from the same ones, and
    would count twice in averages.

    Raises:
        DataError: a local folder or zip without a JSONL file.
    """
    path, kind = _local(data)
    names = _names_in(path, kind)
    if kind == "file":
        return [_task_of(path.name)]
    if names is None:
        return list(INFINITEBENCH if "infinitebench" in str(data).lower() else LONGBENCH)
    if not names:
        raise DataError(f"{data}: holds no JSONL file; give the folder or zip of LongBench's `data`")
    twins = {name for name in LONGBENCH_E if name.removesuffix("_e") in names}
    known = [name for name in (*TASKS, *LONGBENCH_E) if name in names - twins]
    return known + sorted(names - twins - set(known))


def _names_in(path: Path, kind: str) -> set[str] | None:
    """Return the names of the JSONL files in a folder or zip; None: it is neither."""
    if kind == "folder":
        return set(_files(path))
    if kind == "zip":
        with _opened_zip(path) as archive:
            return set(_members(archive))
    return None


def without_missing(data: Path | str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return tasks by name without those of groups whose files are not there, and a note on each such group.

    A task that is named itself is kept, as are all of a hub's and of a group without any file; `load_items` refuses
    them.

    Args:
        data: as for `load_items`.
        names: names of tasks and groups.
    """
    wanted = expand_tasks(names)
    there = _names_in(*_local(data))
    if there is None:
        return wanted, []
    dropped: set[str] = set()
    notes = []
    for group, tasks in groups_of(names).items():
        missing = [task for task in tasks if task not in there and task not in names]
        if missing and len(missing) < len(tasks):
            dropped |= set(missing)
            notes.append(
                f"{data} lacks {len(missing)} of the {len(tasks)} tasks of {group} ({', '.join(missing)}); scores are "
                "means over the others"
            )
        elif missing:
            raise DataError(f"{data}: none of the {len(tasks)} tasks of {group} is there; it needs {', '.join(tasks)}")
    return [task for task in wanted if task not in dropped], notes


def bad_rows_note(data: Path | str, bad: Sequence[BadRow]) -> str:
    """Return a message with the number of skipped rows, and a line for each of the first ten different problems."""
    problems = [BadRecord(row.file, row.line, row.field, row.problem) for row in bad]
    return "\n".join([f"{len(bad)} bad rows skipped in {data}:", *first_of_each(problems)])


def read_rows(
    rows: Iterable[RawRow], spec: TaskSpec, *, needs_length: bool = False, fields: Mapping[str, str] | None = None
) -> tuple[list[LongBenchItem], list[BadRow]]:
    """Check rows of any of the formats of `longmab_pl.data.qa_fields`.

    Args:
        rows: rows of the file, unchanged.
        spec: row of the task table, for the fields that the task needs.
        needs_length: whether `length` is required (LongBench-E).
        fields: the data's names where they are others.
    """
    items: list[LongBenchItem] = []
    bad: list[BadRow] = []
    first_seen: dict[str, int] = {}
    for row in rows:
        try:
            item = _item(row, spec, needs_length, fields)
            if item.id in first_seen:
                taken = f"{quoted(item.id)} is also the id of line {first_seen[item.id]}; give each row its own"
                raise FieldError("_id", taken)
        except FieldError as error:
            bad.append(BadRow(row.file, row.line, error.field or "(line)", str(error)))
            continue
        first_seen[item.id] = row.line
        items.append(item)
    return items, bad


def _item(row: RawRow, spec: TaskSpec, needs_length: bool, fields: Mapping[str, str] | None) -> LongBenchItem:
    if row.problem:
        raise FieldError("", row.problem)
    value = row.value
    if not isinstance(value, dict):
        raise FieldError("", f"a JSON {type(value).__name__}; each line must be an object")
    context = qa_fields.context(value, fields)
    question = qa_fields.question(value, fields, required=spec.asks_input)
    answers = qa_fields.answers(value, fields)
    wanted = {"retrieval": r"Paragraph \d", "retrieval_zh": r"段落\d"}.get(spec.metric)
    if wanted and not all(re.search(wanted, answer) for answer in answers):
        form = repr(wanted.replace(chr(92) + "d", "7"))
        raise FieldError("answers", f"{quoted(list(answers))}; answers of this task have the form {form}")
    length = value.get("length")
    if (length is not None or needs_length) and (not isinstance(length, int) or isinstance(length, bool)):
        what = "missing" if length is None else quoted(length)
        raise FieldError("length", f"{what}; it must be a whole number (LongBench-E puts records in buckets by it)")
    language = value.get("language")
    return LongBenchItem(
        id=qa_fields.record_id(value, row.line, fields),
        question=question,
        answers=answers,
        context=context,
        length=length,
        all_classes=_classes(value.get("all_classes"), spec),
        language=language if isinstance(language, str) else spec.language,
    )


def _classes(value: Any, spec: TaskSpec) -> tuple[str, ...] | None:
    if value is not None and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise FieldError("all_classes", f"{quoted(value)}; it must be a list of labels, or null")
    if spec.metric == "classification" and not value:
        raise FieldError("all_classes", "missing; this task needs the list of its labels")
    for problem in filter(None, map(half_character, value or [])):
        raise FieldError("all_classes", problem)
    return tuple(value) if value else None


def _checked(
    rows: Iterable[RawRow], file: str, task: str, in_table: bool, fields: Mapping[str, str] | None
) -> tuple[list[LongBenchItem], TaskSpec, list[BadRow]]:
    rows = list(rows)
    spec = task_spec(task) if in_table else custom_spec(task, _language(rows))
    items, bad = read_rows(rows, spec, needs_length=task in LONGBENCH_E, fields=fields)
    if not items:
        reason = f"the first problem: {bad[0]}" if bad else "the file is empty"
        raise DataError(f"{file}: not one usable row for evaluation task {task!r}; {reason}")
    return items, spec, bad


def _language(rows: Sequence[RawRow]) -> str:
    """Return the language that the first readable row names, else English."""
    for row in rows:
        if isinstance(row.value, dict):
            language = row.value.get("language")
            return language if isinstance(language, str) else "en"
    return "en"


def _from_zip(
    path: Path, task: str, in_table: bool, fields: Mapping[str, str] | None
) -> tuple[list[LongBenchItem], TaskSpec, list[BadRow]]:
    with _opened_zip(path) as archive:
        members = _members(archive)
        if task not in members:
            task_spec(task, known=members)
            raise _no_file(str(path), task, sorted(members))
        with archive.open(members[task]) as file:
            return _checked(rows_of(f"{path}!{members[task]}", file), f"{path}!{members[task]}", task, in_table, fields)


@contextmanager
def _opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip to read from.

    Raises:
        DataError: it is damaged or encrypted.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: a damaged zip ({shown(str(error), 200)}); download it again") from error
    except (NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be unpacked here ({shown(str(error), 200)}); unpack it yourself") from error


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    return {_task_of(PurePosixPath(name).name): name for name in archive.namelist() if name.lower().endswith(_IN_ZIP)}


_IN_ZIP = (".jsonl", ".json", ".csv", ".tsv")


def _task_of(name: str) -> str:
    """Return a file's name without its suffixes."""
    kind = max((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), key=len, default="")
    return name[: len(name) - len(kind)]


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder, or of the `data` folder in it, by the task that each holds."""
    found: dict[str, Path] = {}
    for path in (*sorted(folder.iterdir()), *sorted(folder.glob("data/*"))):
        if path.is_file() and path.name.lower().endswith(SUFFIXES) and path.name not in _NO_DATA:
            found.setdefault(_task_of(path.name), path)
    return found


# Files beside the data: the official settings, and files that `datasets` writes.
_NO_DATA = ("dataset2prompt.json", "dataset2maxlen.json", "dataset_info.json", "dataset_dict.json", "state.json")


def _from_hub(
    name: str, task: str, fields: Mapping[str, str] | None
) -> tuple[list[LongBenchItem], TaskSpec, list[BadRow]]:
    """Load a task from a hub data set: LongBench has its JSONL files in a `data.zip`, InfiniteBench has plain files.

    `datasets.load_dataset` cannot read the former any more, because it no longer runs loading scripts.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    unreachable: Exception | None = None
    for file in (f"{task}.jsonl", f"data/{task}.jsonl", "data.zip"):
        try:
            path = Path(hf_hub_download(name, file, repo_type="dataset"))
        except RemoteEntryNotFoundError:
            continue
        except LocalEntryNotFoundError as error:  # offline: another of the files may have been fetched before
            unreachable = error
            continue
        except Exception as error:  # network, authentication, unknown repository: the hub cannot be read
            raise _not_from_hub(name, error) from error
        if path.suffix == ".zip":
            return _from_zip(path, task, True, fields)
        return _checked(open_source(str(path), "test"), str(path), task, True, fields)
    if unreachable is not None:
        raise _not_from_hub(name, unreachable) from unreachable
    raise DataError(f"{name}: this hub data set has neither {task}.jsonl nor data.zip; give another, or a local folder")


def _not_from_hub(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name}: no such local file or folder, and the hub did not provide it "
        f"({type(error).__name__}: {_first_line(error)}); give a folder or zip of the JSONL files"
    )


def _no_file(where: str, task: str, there: list[str]) -> DataError:
    listed = f"it holds {', '.join(there)}" if there else "it holds no JSONL file"
    return DataError(f"{where}: no file {task}.jsonl for evaluation task {task!r}; {listed}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
