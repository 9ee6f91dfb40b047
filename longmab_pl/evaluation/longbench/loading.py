"""Evaluation records from a local folder or zip of JSONL files, from one JSONL file, or from the hub."""

from __future__ import annotations

import json
import random
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from longmab_pl.data.readers import half_character
from longmab_pl.data.records import QARecord
from longmab_pl.errors import DataError
from longmab_pl.evaluation.longbench.table import (
    INFINITEBENCH,
    LONGBENCH,
    LONGBENCH_E,
    TASKS,
    TaskSpec,
    custom_spec,
    task_spec,
)
from longmab_pl.shown import quoted

T = TypeVar("T")
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
    """A row that cannot be used: where it is, what is wrong, what to do."""

    file: str
    line: int
    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: field {self.field!r}: {self.problem}"


def load_items(data: Path | str, task: str) -> tuple[list[LongBenchItem], TaskSpec, list[BadRow]]:
    """The records of one task.

    Args:
        data: where they are:
            a folder with `<task>.jsonl` in it or in its `data` folder (as the official zip unpacks);
            a zip with a member `<task>.jsonl`;
            a JSONL file, in which case `task` only names it and says how to score (a task of the table, or any other
            name for a custom QA task);
            a hub name such as `THUDM/LongBench` or `xinrongzhang2022/InfiniteBench`.
        task: a name of the table, a LongBench-E name, or the stem of any other JSONL file there, which is asked and
            scored as a custom QA task. Rows are in LongBench's format (`input, context, answers, length, all_classes,
            _id`), InfiniteBench's (`answer`) or that of the training records (`id, input or question, answer,
            context`). Empty gold answers among others are dropped.

    Returns:
        The usable records in file order, how to ask and score them, and the rows that cannot be used.

    Raises:
        ConfigError: the task is neither in the table nor a file.
        DataError: no such data, or not one usable row.
    """
    path = Path(data)
    in_table = task in TASKS or task in LONGBENCH_E
    if path.is_dir():
        found = next((p for p in (path / f"{task}.jsonl", path / "data" / f"{task}.jsonl") if p.is_file()), None)
        if found is None:
            there = sorted(p.stem for p in (*path.glob("*.jsonl"), *path.glob("data/*.jsonl")))
            task_spec(task, known=there)  # an unknown name is the likelier mistake
            raise _no_file(str(path), task, there)
        return _checked(_lines(found), str(found), task, in_table)
    if path.is_file() and zipfile.is_zipfile(path):
        return _from_zip(path, task, in_table)
    if path.is_file():
        return _checked(_lines(path), str(path), task, in_table)
    if isinstance(data, str) and _HUB_NAME.fullmatch(data) and path.suffix not in (".jsonl", ".zip"):
        task_spec(task)
        return _from_hub(data, task)
    raise DataError(f"{data}: no such file or folder; give a folder or zip of LongBench JSONL files, or a JSONL file")


def tasks_there(data: Path | str) -> list[str]:
    """Names of the tasks that a folder, zip or JSONL file holds, those of the table first; for a hub name LongBench's,
    or InfiniteBench's where it is called so.

    A LongBench-E task whose LongBench task is there too is left out: its records are drawn from the same ones, and
    would count twice in averages.

    Raises:
        DataError: a local folder or zip without a JSONL file.
    """
    path = Path(data)
    if path.is_dir():
        names = {p.stem for p in (*path.glob("*.jsonl"), *path.glob("data/*.jsonl"))}
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = set(_members(archive))
    elif path.is_file():
        return [path.stem]
    else:
        return list(INFINITEBENCH if "infinitebench" in str(data).lower() else LONGBENCH)
    if not names:
        raise DataError(f"{data}: holds no JSONL file; give the folder or zip of LongBench's `data`")
    twins = {name for name in LONGBENCH_E if name.removesuffix("_e") in names}
    known = [name for name in (*TASKS, *LONGBENCH_E) if name in names - twins]
    return known + sorted(names - twins - set(known))


def sample(items: Sequence[T], limit: int | None, seed: int | None) -> list[T]:
    """Return at most `limit` of the items in their order: drawn at random with this seed, or the first (None)."""
    if limit is None or limit >= len(items):
        return list(items)
    if seed is None:
        return list(items[: max(limit, 0)])
    chosen = sorted(random.Random(seed).sample(range(len(items)), max(limit, 0)))
    return [items[i] for i in chosen]


def bad_rows_note(data: Path | str, bad: Sequence[BadRow]) -> str:
    """Return how many rows were skipped, and the first ten of them, a line each."""
    return "\n  ".join([f"{len(bad)} bad rows skipped in {data}:", *map(str, bad[:10])])


def read_rows(
    lines: Iterable[bytes], file: str, spec: TaskSpec, *, needs_length: bool = False
) -> tuple[list[LongBenchItem], list[BadRow]]:
    """Parse JSONL rows of any of the accepted formats; blank lines are ignored.

    Args:
        lines: the file's lines.
        file: its name, for messages.
        spec: says which fields the task needs.
        needs_length: whether `length` is required (LongBench-E).
    """
    items: list[LongBenchItem] = []
    bad: list[BadRow] = []
    first_seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parsed = _parse(line, number, spec, needs_length)
        if isinstance(parsed, LongBenchItem) and parsed.id in first_seen:
            parsed = (
                "_id",
                f"{quoted(parsed.id)} is also the id of line {first_seen[parsed.id]}; give each row its own",
            )
        if isinstance(parsed, LongBenchItem):
            first_seen[parsed.id] = number
            items.append(parsed)
        else:
            bad.append(BadRow(file, number, *parsed))
    return items, bad


def _parse(line: bytes, number: int, spec: TaskSpec, needs_length: bool) -> LongBenchItem | tuple[str, str]:
    """The item, or the field that is wrong and what to do."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except ValueError as error:
        return "(line)", f"not JSON in UTF-8 ({error}); mend or remove the line"
    if not isinstance(row, dict):
        return "(line)", f"a JSON {type(row).__name__}; each line must be an object"
    context = row.get("context")
    if not isinstance(context, str) or not context.strip():
        return "context", f"{_value(context)}; it must be a text that is not empty"
    question = row.get("input", row.get("question", "" if not spec.asks_input else None))
    if not isinstance(question, str) or (spec.asks_input and not question.strip()):
        return "input", f"{_value(question)}; it must be the question, as text (the name `question` is accepted too)"
    answers = row.get("answers", row.get("answer"))
    answers = [answers] if isinstance(answers, str) else answers
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        return "answers", f"{_value(answers)}; it must be a text or a list of texts"
    # An empty gold answer would count as contained in every prediction.
    answers = [answer for answer in answers if answer.strip()]
    if not answers:
        return "answers", "there is no answer that is not empty; give at least one"
    wanted = {"retrieval": r"Paragraph \d", "retrieval_zh": r"段落\d"}.get(spec.metric)
    if wanted and not all(re.search(wanted, answer) for answer in answers):
        return (
            "answers",
            f"{_value(answers)}; answers of this task have the form {wanted.replace(chr(92) + 'd', '7')!r}",
        )
    classes = row.get("all_classes")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        return "all_classes", f"{_value(classes)}; it must be a list of labels, or null"
    if spec.metric == "classification" and not classes:
        return "all_classes", "missing; this task needs the list of its labels"
    length = row.get("length")
    if (length is not None or needs_length) and (not isinstance(length, int) or isinstance(length, bool)):
        return "length", f"{_value(length)}; it must be a whole number (LongBench-E puts records in buckets by it)"
    language = row.get("language")
    name = str(row.get("_id", row.get("id", number)))
    texts = {"_id": [name], "input": [question], "context": [context], "answers": answers, "all_classes": classes or []}
    for field, values in texts.items():
        for problem in filter(None, map(half_character, values)):
            return field, problem
    return LongBenchItem(
        id=name,
        question=question,
        answers=tuple(answers),
        context=context,
        length=length,
        all_classes=tuple(classes) if classes else None,
        language=language if isinstance(language, str) else spec.language,
    )


def _checked(
    lines: Iterable[bytes], file: str, task: str, in_table: bool
) -> tuple[list[LongBenchItem], TaskSpec, list[BadRow]]:
    lines = list(lines)
    spec = task_spec(task) if in_table else custom_spec(task, _language(lines))
    items, bad = read_rows(lines, file, spec, needs_length=task in LONGBENCH_E)
    if not items:
        reason = f"the first problem: {bad[0]}" if bad else "the file is empty"
        raise DataError(f"{file}: not one usable row for evaluation task {task!r}; {reason}")
    return items, spec, bad


def _language(lines: Sequence[bytes]) -> str:
    """The language that the first readable row names, else English."""
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return str(row.get("language", "en"))
    return "en"


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _from_zip(path: Path, task: str, in_table: bool) -> tuple[list[LongBenchItem], TaskSpec, list[BadRow]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            if task not in members:
                task_spec(task, known=members)
                raise _no_file(str(path), task, sorted(members))
            with archive.open(members[task]) as file:
                return _checked(file, f"{path}!{members[task]}", task, in_table)
    except (zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: a damaged zip ({error}); download it again") from error


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    return {PurePosixPath(name).stem: name for name in archive.namelist() if name.endswith(".jsonl")}


def _from_hub(name: str, task: str) -> tuple[list[LongBenchItem], TaskSpec, list[BadRow]]:
    """From the files of a hub data set: LongBench keeps its JSONL files in a `data.zip`, InfiniteBench lays them open.

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
        except Exception as error:  # network, authentication, unknown repository: all mean "not from there"
            raise _not_from_hub(name, error) from error
        return _from_zip(path, task, True) if path.suffix == ".zip" else _checked(_lines(path), str(path), task, True)
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


def _value(value: Any) -> str:
    return "missing" if value is None else quoted(value)
