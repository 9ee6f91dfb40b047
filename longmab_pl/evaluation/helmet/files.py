"""HELMET's own files: retrieval-augmented questions with their passages, and questions about novels and scripts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from longmab_pl.errors import DataError
from longmab_pl.evaluation.benchmark_files import Row, json_rows, sample
from longmab_pl.evaluation.prompted_task import BenchmarkItem
from longmab_pl.shown import quoted

POPULARITY = 3.0
"""PopQA: questions about subjects with a decimal logarithm of page views below this."""

Kind = Literal["passages", "story", "choice"]


@dataclass(frozen=True)
class HelmetTask:
    """One task of HELMET.

    Args:
        kind: `passages` (SubEM), `story` (ROUGE-L F1) or `choice` (exact match).
        files: pattern of its file's name.
        wanted: the file and its source, for errors.
    """

    kind: Kind
    files: str
    wanted: str


_KILT = "of HELMET's data/kilt (its download script)"
_NOVELS = "of the Hub data set xinrongzhang2022/InfiniteBench, as it is"

TASKS: dict[str, HelmetTask] = {
    "kilt_nq": HelmetTask("passages", r"nq-dev-.*\.jsonl", f"nq-dev-multikilt_1000_k1000_dep6.jsonl {_KILT}"),
    "kilt_triviaqa": HelmetTask(
        "passages", r"triviaqa-dev-.*\.jsonl", f"triviaqa-dev-multikilt_1000_k1000_dep6.jsonl {_KILT}"
    ),
    "kilt_hotpotqa": HelmetTask(
        "passages", r"hotpotqa-dev-.*\.jsonl", f"hotpotqa-dev-multikilt_1000_k1000_dep3.jsonl {_KILT}"
    ),
    "kilt_popqa_3": HelmetTask("passages", r"popqa_test_.*\.jsonl", f"popqa_test_1000_k1000_dep6.jsonl {_KILT}"),
    "narrativeqa": HelmetTask("story", r"narrativeqa.*\.jsonl", "narrativeqa.jsonl, the test rows of NarrativeQA"),
    "infbench_qa_eng": HelmetTask("story", r"longbook_qa_eng\.jsonl", f"longbook_qa_eng.jsonl {_NOVELS}"),
    "infbench_choice_eng": HelmetTask("choice", r"longbook_choice_eng\.jsonl", f"longbook_choice_eng.jsonl {_NOVELS}"),
}


def task_file(folder: Path, task: str) -> Path | None:
    """Return the file of a task anywhere in a folder, or None; of several, the one with the most passages.

    Raises:
        DataError: the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the folder with HELMET's files")
    found = [path for path in sorted(folder.rglob("*.jsonl")) if re.fullmatch(TASKS[task].files, path.name)]
    return max(found, key=lambda path: (_passages(path.name), path.name), default=None)


def _passages(name: str) -> int:
    found = re.search(r"_k(\d+)", name)
    return int(found[1]) if found else 0


def read_task(path: Path, task: str, limit: int | None, seed: int) -> list[BenchmarkItem]:
    """Return the items of a file.

    A file of passages holds each question several times, with its gold passage at several depths; `limit` counts
    questions, and all their rows are kept.

    Args:
        path: the file.
        task: its task.
        limit: at most this many questions, the same random sample every time; None: all.
        seed: random seed of the sample.

    Raises:
        DataError: it cannot be read, or a row lacks a field.
    """
    spec = TASKS[task]
    make: dict[Kind, Callable[[Row, int], BenchmarkItem]] = {
        "passages": _passage_item,
        "story": _story_item,
        "choice": _choice_item,
    }
    rows = json_rows(path, spec.wanted)
    if task == "kilt_popqa_3":
        rows = [row for row in rows if _popularity(row) < POPULARITY]
    items = [make[spec.kind](row, number) for number, row in enumerate(rows)]
    if not items:
        raise DataError(f"{path} has no question that counts; it must be {spec.wanted}")
    kept = set(sample(sorted({item.question for item in items}), limit, seed))
    return [item for item in items if item.question in kept]


def _popularity(row: Row) -> float:
    views = row.values.get("s_pop")
    if isinstance(views, bool) or not isinstance(views, int | float) or views <= 0:
        raise DataError(f"{row.where}: field 's_pop' is {quoted(str(views))}; it must be a number above 0")
    return math.log10(views)


def _passage_item(row: Row, number: int) -> BenchmarkItem:
    passages = row.values.get("ctxs")
    if not isinstance(passages, list) or not all(isinstance(passage, dict) for passage in passages) or not passages:
        raise DataError(f"{row.where}: field 'ctxs' must be a list of passages with title and text")
    texts = [Row(passage, f"{row.where}, passage {i}") for i, passage in enumerate(passages)]
    document = "\n\n".join(f"Document (Title: {p.text('title')}): {p.text('text')}" for p in texts)
    return BenchmarkItem(f"{number}", row.text("question"), tuple(row.texts("answers")), document)


def _story_item(row: Row, number: int) -> BenchmarkItem:
    """Return the item of a row of NarrativeQA (flat, or nested as on the Hub) or of InfiniteBench."""
    question = _nested(row, "question") or _nested(row, "input")
    document = _nested(row, "context") or _nested(row, "document")
    if not question or not document:
        raise DataError(f"{row.where}: it must have a question (or input) and a context (or document), as texts")
    return BenchmarkItem(f"{number}", question, _answers(row), document)


def _choice_item(row: Row, number: int) -> BenchmarkItem:
    options = tuple(row.texts("options"))
    (right,) = _answers(row)[:1]
    if right not in options or len(options) > 26:
        raise DataError(f"{row.where}: the answer {quoted(right)} is none of the options")
    letter = chr(ord("A") + options.index(right))
    golds = (letter, f"{letter}. {right}")
    return BenchmarkItem(f"{number}", row.text("input"), golds, row.text("context"), options=options)


def _nested(row: Row, name: str) -> str:
    value = row.values.get(name)
    text = value.get("text") if isinstance(value, dict) else value
    return text if isinstance(text, str) and text.strip() else ""


def _answers(row: Row) -> tuple[str, ...]:
    given: Any = row.values.get("answers", row.values.get("answer"))
    listed = given if isinstance(given, list) else [given]
    parts = [part.get("text") if isinstance(part, dict) else part for part in listed]
    texts = [part for part in parts if isinstance(part, str) and part.strip()]
    if not texts or len(texts) < len(parts):
        raise DataError(f"{row.where}: field 'answers' (or 'answer') is {quoted(str(given))}; it must be texts")
    return tuple(texts)


def tasks_in(folder: Path, names: Sequence[str] | None) -> dict[str, Path]:
    """Return the file of each task.

    Args:
        folder: folder with HELMET's files, at any depth.
        names: tasks; None: all that the folder has.

    Raises:
        DataError: a named task has no file, or the folder has none of any task.
    """
    found = {name: task_file(folder, name) for name in names or TASKS}
    missing = [name for name, path in found.items() if path is None]
    if names and missing:
        raise DataError(f"{folder} has no file of {missing[0]}; it needs {TASKS[missing[0]].wanted}")
    there = {name: path for name, path in found.items() if path is not None}
    if not there:
        raise DataError(
            f"{folder} has no file of HELMET's tasks {', '.join(TASKS)}; it needs {TASKS['kilt_nq'].wanted}"
        )
    return there
