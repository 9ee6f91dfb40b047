"""`longmab compare`: evaluation results side by side, with confidence intervals and a paired test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from longmab_pl.cli.arguments import call, paths_as_list
from longmab_pl.cli.function_options import refuse_wrong_options
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation import results as outcomes
from longmab_pl.evaluation.lm_eval import write_lm_eval
from longmab_pl.evaluation.result_files import by_suite, in_order, result_files
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.statistics import PairedTest
from longmab_pl.evaluation.tables import results_table
from longmab_pl.reporting.console import LiteralConsole, wide_console
from longmab_pl.shown import tell
from longmab_pl.storage.files import atomic_write

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Tests = dict[str, dict[str, PairedTest]]


def compare(
    results: list[str],
    metric: str | None = None,
    out: str | None = None,
    pictures: str | None = None,
    lm_eval: str | None = None,
) -> None:
    """Print evaluations side by side, with confidence intervals and the paired test against the first one.

    Results of several suites get a table each. Of one run's evaluations the earliest is the first.

    Args:
        results: result.json files, or folders: of a suite, of an evaluation with several suites
            (runs/demo/evaluations/*), or of a run. The first is the baseline.
        metric: test this metric. Default: each task's main one.
        out: also write the tests to this JSON file, by suite.
        pictures: folder for curves by length and heat maps, one file for each suite.
        lm_eval: folder for result files in lm-evaluation-harness's layout, one for each model.

    Raises:
        ConfigError: fewer than two results, or no two of a suite have a task, metric and record in common.
        DataError: a file is missing or is not an evaluation result.
    """
    groups = by_suite(_files(results))
    if pictures is not None:
        from longmab_pl.evaluation.pictures import pictures_of  # imports torchmetrics
    tested = _tested(groups, metric)
    for suite, group in groups.items():
        loaded = [result for _, result in group]
        name = suite or "results"
        _show(suite if len(groups) > 1 else "", loaded, tested[name][1])
        if pictures is not None:
            for picture in pictures_of(loaded, name):
                print(f"picture    {picture.save(Path(pictures))}")
    if out is not None:
        _write_tests(Path(out), tested)
    if lm_eval is not None:
        for named in _by_model(groups):
            print(f"lm-eval    {write_lm_eval(Path(lm_eval), named)}")


def _tested(
    groups: Mapping[str, Sequence[tuple[Path, EvaluationResult]]], metric: str | None
) -> dict[str, tuple[str, Tests]]:
    """Return each suite's baseline and the tests against it; results that share no question with it are said."""
    apart: list[ConfigError] = []
    tested: dict[str, tuple[str, Tests]] = {}
    for suite, group in groups.items():
        first = group[0][1]
        tests: Tests = {}
        for _, other in group[1:]:
            try:
                tests[other.model] = outcomes.compare(first, other, metric=metric)
            except ConfigError as error:
                apart.append(error)
        tested[suite or "results"] = (first.model, tests)
    if apart and not any(tests for _, tests in tested.values()):
        raise apart[0]
    for reason in apart:
        tell(f"note: not tested: {reason}")
    return tested


def run(args: Sequence[str]) -> None:
    """Run the command."""
    given = [args[0], *paths_as_list(args[1:])]
    refuse_wrong_options(__name__, "compare", given)
    call(compare, given)


def _files(names: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for name in names:
        found = result_files(name)
        if not found:
            tell(f"note: {name} holds no result.json and is left out; an interrupted evaluation has none")
        files += found
    if len(files) < 2:
        there = ", ".join(map(str, files)) or "none"
        raise ConfigError(f"compare needs at least two results and found {len(files)} ({there}); give more folders")
    return in_order(files)


def _show(suite: str, loaded: Sequence[EvaluationResult], tests: Tests) -> None:
    first = loaded[0]
    table = results_table(loaded)
    if suite:
        table.title = suite
    console = _console(table)
    console.print(table)
    if len(loaded) < 2:
        console.print(f"{suite}: only {first.model} has it", soft_wrap=True)
        return
    if not tests:
        return
    for other in loaded[1:]:
        for task in _asked_differently(first, other):
            console.print(f"note: {task} was asked with other settings in {other.model}", soft_wrap=True)
    scale = "points of 0..100, with 95% confidence interval (* leaves out 0)"
    console.print(f"difference from {first.model}, {scale}:", soft_wrap=True)
    for name, by_task in tests.items():
        for task, test in by_task.items():
            if task != "macro" or len(by_task) > 2:
                console.print(f"  {name}, {task}: {_in_words(test)}", soft_wrap=True)


def _write_tests(path: Path, tested: Mapping[str, tuple[str, Tests]]) -> None:
    rows = {
        suite: {
            "first": first,
            "against": {name: {task: asdict(test) for task, test in found.items()} for name, found in tests.items()},
        }
        for suite, (first, tests) in tested.items()
    }
    with atomic_write(path) as file:
        file.write(json.dumps(rows, indent=1) + "\n")
    print(f"tests      {path}")


def _by_model(
    groups: Mapping[str, Sequence[tuple[Path, EvaluationResult]]],
) -> list[dict[str, EvaluationResult]]:
    """Return the results by suite, for each model."""
    found: dict[str, dict[str, EvaluationResult]] = {}
    for group in groups.values():
        for file, result in group:
            found.setdefault(result.model, {})[result.suite or file.resolve().parent.name] = result
    return list(found.values())


def _console(table: Table) -> Console:
    """Return a console on the terminal, or as wide as the table if the output goes to a file."""
    from rich.measure import Measurement

    console = wide_console()
    if console.is_terminal:
        return console
    unbounded = LiteralConsole(width=10_000)
    return LiteralConsole(width=max(console.width, Measurement.get(unbounded, unbounded.options, table).maximum))


def _asked_differently(first: EvaluationResult, other: EvaluationResult) -> list[str]:
    """Return the tasks of both results that differ in prompt, sampling or truncation."""
    shared = first.settings.keys() & other.settings.keys()
    return [name for name in first.settings if name in shared and first.settings[name] != other.settings[name]]


def _in_words(test: PairedTest) -> str:
    verdict = "" if test.low <= 0 <= test.high else "  *"
    return f"{test.difference:+.2f} [{test.low:+.2f}, {test.high:+.2f}], p {test.p_value:.4f}, n {test.n}{verdict}"
