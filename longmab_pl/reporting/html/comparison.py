"""Several runs on one page: their scores against the first run's, their curves, and the settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.evaluation.results import compare_headlines
from longmab_pl.evaluation.statistics import PairedTest
from longmab_pl.reporting.html import facts
from longmab_pl.reporting.html.intervals import Estimate
from longmab_pl.reporting.html.page import render
from longmab_pl.reporting.html.panels import COLORS, Points, scores
from longmab_pl.reporting.html.plot import Chart, Line
from longmab_pl.reporting.html.run_data import RunData, read_run_data
from longmab_pl.reporting.html.text import line
from longmab_pl.reporting.run_report import METRIC_TITLES
from longmab_pl.reporting.run_settings import public, short_name
from longmab_pl.storage.files import atomic_write

DIFFERENT_SETTINGS = 200
"""Largest number of differing settings that are listed."""


@dataclass(frozen=True)
class ComparedRun:
    """One run's line of a suite: its label, its first and last score, and the test of the last one against run 1's."""

    label: str
    first: str
    last: str
    test: str
    verdict: str


@dataclass(frozen=True)
class ComparedSuite:
    """A suite that at least one of the runs was evaluated by."""

    name: str
    metric: str
    runs: Sequence[ComparedRun]
    chart: Chart


def write_comparison(runs: Sequence[Path], out: Path) -> Path:
    """Write a page that compares runs; the first one is the baseline.

    Args:
        runs: two or more run folders.
        out: the page's file.

    Raises:
        ConfigError: fewer than two runs, or one of them twice.
        DataError: one is no run folder.
    """
    if len({run.resolve() for run in runs}) < max(len(runs), 2):
        raise ConfigError("a comparison needs two different run folders at least; give each one once")
    text = comparison_page([read_run_data(run) for run in runs])
    with atomic_write(out) as file:
        file.write(text)
    return out


def comparison_page(runs: Sequence[RunData]) -> str:
    """Return the page of two or more runs."""
    labels = _labels(runs)
    costs = [facts.total(facts.cost_rows(run)) for run in runs]
    return render(
        "comparison.html.j2",
        title=" against ".join(labels)[:200],
        labels=labels,
        runs=runs,
        models=[line(short_name(run.model), 80) for run in runs],
        suites=[
            _suite(name, runs, labels) for name in dict.fromkeys(name for run in runs for name in run.report.suites())
        ],
        charts=_charts(runs, labels),
        costs=list(zip(labels, costs, runs, strict=True)),
        settings=_different_settings(runs),
    )


def _labels(runs: Sequence[RunData]) -> list[str]:
    """Return the folders' names, with as many folders above as tell them apart."""
    parts = [run.folder.resolve().parts[::-1] for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(reversed(names[:depth])) for names in parts]
        if len(set(labels)) == len(labels):
            return [line(label, 80) for label in labels]
    return [f"run {i}" for i in range(1, len(runs) + 1)]


def _suite(name: str, runs: Sequence[RunData], labels: Sequence[str]) -> ComparedSuite:
    entries = [run.report.suites().get(name, []) for run in runs]
    metric = next(found[0].metric for found in entries if found)
    rows, lines = [], []
    for i, (run, label, found) in enumerate(zip(runs, labels, entries, strict=True)):
        if not found or metric not in found[-1].scores:
            rows.append(ComparedRun(label, "–", "–", "not evaluated", ""))
            continue
        test = _test(runs[0], entries[0], run, found) if i else None
        rows.append(
            ComparedRun(
                label,
                str(found[0].scores.get(metric, "–")),
                str(found[-1].scores[metric]) if len(found) > 1 else "–",
                "" if test is None else facts.in_words(test),
                "" if test is None else facts.verdict(test),
            )
        )
        by_round = [(float(e.round), estimate) for e, (_, estimate) in zip(found, scores(found, metric), strict=True)]
        lines.append(Line(label, list(dict(by_round).items()), COLORS[i % 6], bars=True))
    title = METRIC_TITLES.get(metric, line(metric, 40))
    note = "Points of 0 to 100; round 0 is before training. Shaded: 95% bootstrap intervals over questions."
    chart = Chart(f"{line(name, 60)}, {title}", lines, "rounds trained", note, digits=1)
    return ComparedSuite(line(name, 80), title, rows, chart)


def _test(
    baseline: RunData, before: Sequence[EvaluationEntry], run: RunData, after: Sequence[EvaluationEntry]
) -> PairedTest | None:
    """Return the paired test of two runs' last evaluations of a suite, if they share questions."""
    first = baseline.result(before[-1]) if before else None
    second = run.result(after[-1])
    if first is None or second is None:
        return None
    try:
        return compare_headlines(first, second)
    except ConfigError:
        return None


def _charts(runs: Sequence[RunData], labels: Sequence[str]) -> list[Chart]:
    def by_run(values: Sequence[Points]) -> list[Line]:
        return [
            Line(label, points, COLORS[i % 6]) for i, (label, points) in enumerate(zip(labels, values, strict=True))
        ]

    def of_rounds(name: str) -> list[Points]:
        found: list[Points] = []
        for run in runs:
            estimates = [(r.number, {"best": r.best, "reward": r.reward, "margin": r.margin}[name]) for r in run.rounds]
            found.append([(float(number), estimate) for number, estimate in estimates if estimate is not None])
        return found

    def of_rows(name: str) -> list[Points]:
        return [[(float(r["round"]), Estimate(r[name])) for r in run.report.rounds if name in r] for run in runs]

    records = "Shaded: 95% intervals of the mean over records."
    charts = [
        Chart("Best answer of a record, reward", by_run(of_rounds("best")), "round", records, top=1.0),
        Chart("All answers of a record, mean reward", by_run(of_rounds("reward")), "round", records),
        Chart(
            "Records with a usable pair", by_run(of_rows("rollout/usable_pair_rate")), "round", percent=True, top=1.0
        ),
        Chart("Reward margin of the pairs", by_run(of_rounds("margin")), "round", "Shaded: 95% intervals over pairs."),
        Chart("Chosen answer preferred", by_run(of_rows("train/rewards/accuracies")), "round", percent=True, top=1.0),
        Chart("DPO margin", by_run(of_rows("train/rewards/margins")), "round"),
    ]
    return [chart for chart in charts if chart.drawn]


def _different_settings(runs: Sequence[RunData]) -> list[tuple[str, list[str]]]:
    """Return the settings that are not the same in all runs, with each run's value."""
    flat = [_flat(public(dict(run.config))) for run in runs]
    names = list(dict.fromkeys(name for settings in flat for name in settings))
    rows = []
    for name in names:
        values = [settings.get(name, "–") for settings in flat]
        if len(set(values)) > 1 and not name.startswith("trainer.default_root_dir"):
            rows.append((line(name, 120), [line(value, 160) for value in values]))
    return rows[:DIFFERENT_SETTINGS]


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Return nested settings as dotted names with their values as text."""
    if isinstance(value, Mapping) and value:
        return {
            k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}.{key}" if name else str(key)).items()
        }
    if isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        return {k: v for i, inner in enumerate(value) for k, v in _flat(inner, f"{name}[{i}]").items()}
    return {name: str(value)}
