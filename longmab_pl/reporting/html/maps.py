"""Scores by length and depth, or by length and task, before and after training."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.reporting.html.run_data import RunData
from longmab_pl.reporting.html.text import line

_LENGTH = re.compile(r"length (\d+)")
"""Name of a bucket of records of one length, as `RULERSuite` names them; its module would import torch."""

Cells = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class ScoreMap:
    """A table of scores in 0..100 for each of several times.

    Args:
        title: what is scored.
        corner: name of the rows.
        columns: titles of the columns.
        rows: titles of the rows.
        tables: (when, cells [R][C]) for the first evaluation and the last one.
        note: a sentence below.
    """

    title: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[str]
    tables: Sequence[tuple[str, Cells]]
    note: str

    @property
    def change(self) -> Cells | None:
        """Cells of the last table minus those of the first one; None for one table."""
        if len(self.tables) < 2:
            return None
        first, last = self.tables[0][1], self.tables[-1][1]
        return [
            [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]
            for before, after in zip(first, last, strict=True)
        ]


def score_maps(data: RunData) -> list[ScoreMap]:
    """Return the needle map and the map of scores by length of every suite that has one."""
    found = []
    for suite, entries in data.report.suites().items():
        ends = [entries[0], entries[-1]] if entries[-1].folder != entries[0].folder else [entries[0]]
        made = _needle(data.folder, suite, ends) or _lengths(suite, ends, [data.result(entry) for entry in ends])
        if made is not None:
            found.append(made)
    return found


def _needle(run: Path, suite: str, entries: Sequence[EvaluationEntry]) -> ScoreMap | None:
    """Return the needle map of `NeedleMap.to_json`, which a suite writes beside its picture."""
    maps = [_read_map(run / entry.folder / "map.json") for entry in entries]
    first = maps[0]
    if first is None:
        return None
    lengths, depths = first["lengths"], first["depths"]
    tables = []
    for entry, found in zip(entries, maps, strict=True):
        if found is None or found["lengths"] != lengths or found["depths"] != depths:
            continue
        by_depth = [[row[d] for row in found["accuracy"]] for d in range(len(depths))]
        tables.append((entry.when, by_depth))
    return ScoreMap(
        title=f"{line(suite)}: needles found, %",
        corner="depth",
        columns=[f"{length:,}" for length in lengths],
        rows=[f"{depth:g}%" for depth in depths],
        tables=tables,
        note="Columns: tokens of the text. Rows: where in it the needle stands; 0% is the beginning.",
    )


def _read_map(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        lengths, depths, accuracy = found["lengths"], found["depths"], found["accuracy"]
        whole = len(accuracy) == len(lengths) and all(len(row) == len(depths) for row in accuracy)
        cells = [value for row in accuracy for value in row if value is not None]
        numbers = all(isinstance(value, int | float) for value in [*lengths, *depths, *cells])
        return dict(found) if whole and numbers and lengths and depths else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lengths(
    suite: str, entries: Sequence[EvaluationEntry], results: Sequence[EvaluationResult | None]
) -> ScoreMap | None:
    """Return tasks by length, for tasks whose records lie in buckets of length, as RULER's do."""
    curves = [{} if result is None else _curves(result) for result in results]
    first = curves[0]
    if not first:
        return None
    tasks = list(first)
    lengths = sorted({length for curve in first.values() for length in curve})
    tables: list[tuple[str, Cells]] = []
    for entry, found in zip(entries, curves, strict=True):
        if found:
            tables.append((entry.when, [[found.get(task, {}).get(n) for n in lengths] for task in tasks]))
    return ScoreMap(
        title=f"{line(suite)}: score by length, %",
        corner="task",
        columns=[f"{length:,}" for length in lengths],
        rows=[line(task, 40) for task in tasks],
        tables=tables,
        note="Columns: tokens of prompt and answer.",
    )


def _curves(result: EvaluationResult) -> dict[str, dict[int, float]]:
    """Return each task's score by length; empty if the tasks have no buckets of length."""
    curves: dict[str, dict[int, float]] = {}
    for name, task in result.tasks.items():
        for bucket, found in (task.buckets or {}).items():
            length, score = _LENGTH.fullmatch(bucket), found["score"]
            if length is not None and score is not None:
                curves.setdefault(name, {})[int(length[1])] = float(score)
    return curves
