"""`longmab compare`: evaluation results side by side, with confidence intervals and a paired test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from longmab_pl.cli.arguments import call
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation import results as outcomes
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.statistics import PairedTest
from longmab_pl.evaluation.tables import results_table
from longmab_pl.reporting.console import LiteralConsole, wide_console
from longmab_pl.storage.files import atomic_write

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def compare(results: list[str], metric: str | None = None, out: str | None = None) -> None:
    """Print evaluations side by side, with confidence intervals and the paired test against the first one.

    Args:
        results: two or more result.json files, or folders that hold one; the first is the baseline.
        metric: test this metric. Default: each task's main one.
        out: also write the tests to this JSON file.

    Raises:
        ConfigError: fewer than two results, or two have no task, metric and record in common.
        DataError: a file is missing or is not an evaluation result.
    """
    if len(results) < 2:
        raise ConfigError(f"compare needs at least two results and was given {len(results)}")
    loaded = _labeled([_result_file(name) for name in results])
    first, tests = loaded[0], {}
    for other in loaded[1:]:
        tests[other.model] = outcomes.compare(first, other, metric=metric)
    table = results_table(loaded)
    console = _console(table)
    console.print(table)
    for other in loaded[1:]:
        for task in _asked_differently(first, other):
            console.print(f"note: {task} was asked with other settings in {other.model}", soft_wrap=True)
    console.print("difference from the first, points of 0..100, with 95% confidence interval (* leaves out 0):")
    for name, by_task in tests.items():
        for task, test in by_task.items():
            if task != "macro" or len(by_task) > 2:
                console.print(f"  {name}, {task}: {_in_words(test)}", soft_wrap=True)
    if out is not None:
        path = Path(out)
        rows = {name: {task: asdict(test) for task, test in found.items()} for name, found in tests.items()}
        with atomic_write(path) as file:
            file.write(json.dumps({"first": first.model, "against": rows}, indent=1) + "\n")
        console.print(f"tests      {path}", soft_wrap=True)


def run(args: Sequence[str]) -> None:
    """Run the command."""
    call(compare, [args[0], *paths_as_list(args[1:])])


def paths_as_list(args: Sequence[str]) -> list[str]:
    """Return arguments with a positional list for jsonargparse: `a b --metric f1` as `["a", "b"] --metric f1`."""
    end = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
    paths, rest = list(args[:end]), list(args[end:])
    if not paths or paths[0].startswith("["):
        return [*paths, *rest]
    return [json.dumps(paths), *rest]


def _console(table: Table) -> Console:
    """Return a console on the terminal, or as wide as the table if the output goes to a file."""
    from rich.measure import Measurement

    console = wide_console()
    if console.is_terminal:
        return console
    unbounded = LiteralConsole(width=10_000)
    return LiteralConsole(width=max(console.width, Measurement.get(unbounded, unbounded.options, table).maximum))


def _result_file(name: str) -> Path:
    path = Path(name)
    if not path.is_dir() or (path / "result.json").is_file():
        return path / "result.json" if path.is_dir() else path
    of_suites = sorted(path.glob("*/result.json"))
    if len(of_suites) > 1:
        names = ", ".join(file.parent.name for file in of_suites)
        raise ConfigError(f"{path} holds results of several suites ({names}); give the folder of one")
    return of_suites[0] if of_suites else path / "result.json"


def _labeled(files: Sequence[Path]) -> list[EvaluationResult]:
    """Return the results with unique labels: equal labels get the folder names that differ."""
    found = [EvaluationResult.load(file) for file in files]
    labels = [result.model for result in found]
    if len(set(labels)) == len(labels):
        return found
    labels = [f"{label} ({name})" for label, name in zip(labels, _differing_names(files), strict=True)]
    if len(set(labels)) < len(labels):
        labels = [f"{result.model} ({file})" for result, file in zip(found, files, strict=True)]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"the same result is given twice: {', '.join(map(str, files))}")
    return [replace(result, model=label) for result, label in zip(found, labels, strict=True)]


def _differing_names(files: Sequence[Path]) -> list[str]:
    """Return the last part of each path that differs between the paths."""
    reversed_parts = [file.parts[::-1] for file in files]
    for parts in zip(*reversed_parts, strict=False):
        if len(set(parts)) > 1:
            return list(parts)
    return [file.name for file in files]


def _asked_differently(first: EvaluationResult, other: EvaluationResult) -> list[str]:
    """Return the tasks of both results that differ in prompt, sampling or truncation."""
    shared = first.settings.keys() & other.settings.keys()
    return [name for name in first.settings if name in shared and first.settings[name] != other.settings[name]]


def _in_words(test: PairedTest) -> str:
    verdict = "" if test.low <= 0 <= test.high else "  *"
    return f"{test.difference:+.2f} [{test.low:+.2f}, {test.high:+.2f}], p {test.p_value:.4f}, n {test.n}{verdict}"
