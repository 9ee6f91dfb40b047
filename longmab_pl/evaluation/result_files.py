"""Finding results on disk: files, folders of suites, folders of several suites, and run folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.results import EvaluationResult

RESULT = "result.json"
"""Name of a result file."""

_EVALUATIONS = "evaluations"
"""Folder of a run's evaluations."""


def result_files(name: str) -> list[Path]:
    """Return the result files that a path stands for.

    Args:
        name: a result file; a suite's folder; a folder of several suites (an evaluation); a folder of several
            evaluations; or a run folder.

    Returns:
        The files, those of one run in the order in which they were made. Empty for a folder that holds none, such as an
        evaluation that was interrupted.
    """
    path = Path(name)
    if not path.is_dir():
        return [path]
    if (path / RESULT).is_file():
        return [path / RESULT]
    inner = path / _EVALUATIONS if (path / _EVALUATIONS).is_dir() else path
    return in_order([file for depth in ("*", "*/*") for file in sorted(inner.glob(f"{depth}/{RESULT}"))])


def in_order(files: Sequence[Path]) -> list[Path]:
    """Return the files with those of each run's evaluations in the order of the run; others keep their places.

    "before-training" is the first, then rounds and steps by their number: a shell sorts them otherwise.
    """
    places: dict[Path, list[int]] = {}
    for position, file in enumerate(files):
        if file.parent.parent.parent.name == _EVALUATIONS:
            places.setdefault(file.parent.parent.parent, []).append(position)
    ordered = list(files)
    for positions in places.values():
        sorted_files = sorted((files[p] for p in positions), key=lambda file: _occasion(file.parent.parent.name))
        for position, file in zip(positions, sorted_files, strict=True):
            ordered[position] = file
    return ordered


def by_suite(files: Sequence[Path]) -> dict[str, list[tuple[Path, EvaluationResult]]]:
    """Return files and results by suite, with labels that are unique within the suite.

    Results without the name of a suite belong to the suite of their folder. If all of them would then be alone, they
    are one group.

    Raises:
        ConfigError: a file is given twice.
        DataError: a file is missing or no result.
    """
    twice = [str(file) for file in files if [other.resolve() for other in files].count(file.resolve()) > 1]
    if twice:
        raise ConfigError(f"the same result is given twice: {', '.join(sorted(set(twice)))}")
    loaded = [(file, EvaluationResult.load(file)) for file in files]
    groups: dict[str, list[tuple[Path, EvaluationResult]]] = {}
    for file, result in loaded:
        groups.setdefault(result.suite or file.resolve().parent.name, []).append((file, result))
    if len(groups) > 1 and all(len(group) == 1 for group in groups.values()):
        groups = {"": loaded}
    return {name: _labeled(group) for name, group in groups.items()}


def _labeled(group: Sequence[tuple[Path, EvaluationResult]]) -> list[tuple[Path, EvaluationResult]]:
    """Return the results with unique labels: equal labels get the folder names that differ."""
    files, labels = [file for file, _ in group], [result.model for _, result in group]
    if len(set(labels)) < len(labels):
        labels = [f"{label} ({name})" for label, name in zip(labels, _differing_names(files), strict=True)]
    if len(set(labels)) < len(labels):
        labels = [f"{result.model} ({file})" for file, result in group]
    return [(file, replace(result, model=label)) for (file, result), label in zip(group, labels, strict=True)]


def _differing_names(files: Sequence[Path]) -> list[str]:
    """Return the last part of each path that differs between the paths."""
    reversed_parts = [file.parts[::-1] for file in files]
    for parts in zip(*reversed_parts, strict=False):
        if len(set(parts)) > 1:
            return list(parts)
    return [file.name for file in files]


def _occasion(name: str) -> tuple[int, list[tuple[int, str]]]:
    parts = re.split(r"(\d+)", name)
    natural = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return (0 if name == "before-training" else 1), natural
