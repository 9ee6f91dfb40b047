"""LongBench Pro's tables: means over items of the means over runs, best of n, and pass@n."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

SUMMARY_GROUP = "T4"
_SUMMARY_PASS = 0.65


@dataclass(frozen=True)
class Run:
    """A score of one item in one run.

    Args:
        item: the item's id.
        number: number of the run, from 1.
        score: score in 0..1.
        primary_task: the item's group ("T1. Retrieval & Ranking", ...).
        language: "English" or "Chinese".
    """

    item: str
    number: int
    score: float
    primary_task: str
    language: str


def overall(runs: Sequence[Run]) -> float:
    """Return the mean over items of their mean over runs."""
    return fmean(fmean(run.score for run in item) for item in _by(runs, lambda run: run.item).values())


def by_language(runs: Sequence[Run]) -> dict[str, float]:
    """Return `overall` for each language."""
    return {name: overall(group) for name, group in sorted(_by(runs, lambda run: run.language).items())}


def iterations(runs: Sequence[Run], count: int) -> list[float]:
    """Return the mean of each run."""
    return [fmean(run.score for run in runs if run.number == n) for n in range(1, count + 1)]


def best_of(runs: Sequence[Run], count: int) -> float:
    """Return the mean over items of the best of their first `count` runs."""
    first = [run for run in runs if run.number <= count]
    return fmean(max(run.score for run in item) for item in _by(first, lambda run: run.item).values())


def passed(runs: Sequence[Run], count: int) -> float:
    """Return the share of items whose best of the first `count` runs is exactly 1 (above 0.65 for summaries)."""
    first = [run for run in runs if run.number <= count]
    best = [max(item, key=lambda run: run.score) for item in _by(first, lambda run: run.item).values()]
    return fmean(
        run.score > _SUMMARY_PASS if run.primary_task.startswith(SUMMARY_GROUP) else run.score == 1.0 for run in best
    )


def incomplete(runs: Sequence[Run], count: int) -> int:
    """Return the number of items that do not have exactly `count` runs."""
    return sum(len(item) != count for item in _by(runs, lambda run: run.item).values())


def _by(runs: Sequence[Run], key: Callable[[Run], str]) -> Mapping[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups
