"""The outcome of an evaluation: scores with confidence intervals, counts, and every record's own scores."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.statistics import PairedTest, bootstrap_interval, paired_test
from longmab_pl.storage.checked_json import verified, write_checked_json


@dataclass(frozen=True)
class ItemResult:
    """One record's outcome.

    Args:
        id: the record's id.
        scores: metric to score, in 0..1.
        well_formed: whether an answer of the asked form could be read.
        truncated: whether the response reached the token limit.
        cut: whether the prompt was cut in the middle.
        prompt_tokens, completion_tokens: lengths in tokens.
        reasoned: whether reasoning was cut off before scoring.
    """

    id: str
    scores: dict[str, float]
    well_formed: bool
    truncated: bool
    cut: bool
    prompt_tokens: int
    completion_tokens: int
    reasoned: bool = False


@dataclass(frozen=True)
class TaskResult:
    """One task's outcome.

    Args:
        name: the task.
        scores: metric to mean score, in 0..100, rounded to 2 digits as the official scorer does; main metric first.
        intervals: metric to the (low, high) bootstrap interval of its mean, in 0..100.
        n: records scored.
        format_failures: predictions from which no answer of the asked form could be read (they score 0).
        truncated_responses: responses that reached the token limit.
        cut_prompts: prompts cut in the middle to fit.
        skipped: record id to the reason why it could not be asked; these are not in the means.
        buckets: LongBench-E length bucket to {"score": 0..100 or None when empty, "n": records}; None for other tasks.
        items: every record's outcome, in the task's order.
    """

    name: str
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    n: int
    format_failures: int
    truncated_responses: int
    cut_prompts: int
    skipped: dict[str, str]
    buckets: dict[str, dict[str, float | int | None]] | None
    items: tuple[ItemResult, ...]

    @property
    def metric(self) -> str:
        """The name of the main metric."""
        return next(iter(self.scores))

    @property
    def score(self) -> float:
        """The main metric's mean, in 0..100."""
        return self.scores[self.metric]

    @property
    def format_rate(self) -> float:
        """Share of predictions with a readable answer, in 0..1."""
        return 1 - self.format_failures / self.n

    def summary(self) -> dict[str, float]:
        """Return scores (0..100), `format_rate` (0..1), `truncated_rate` (0..1) and `n`, flat, for a logger."""
        return {
            **self.scores,
            "format_rate": self.format_rate,
            "truncated_rate": self.truncated_responses / self.n,
            "n": self.n,
        }


@dataclass(frozen=True)
class EvaluationResult:
    """A model's outcome on one or several tasks.

    Args:
        model: a label (model and adapter) for tables.
        tasks: name to outcome, in the order they were given.
        macro: metric to the mean over the tasks that have it, in 0..100. Tasks weigh the same whatever their size.
        macro_intervals: metric to its (low, high) bootstrap interval; records are resampled within each task.
        seconds: wall-clock time, predictions that were already on disk not counted.
        prompt_tokens, cached_tokens, completion_tokens: totals of what was asked in this run (not of what was resumed).
        policy: name of the weights that answered (model and adapter digest), where `model` does not name them.
        suite: name of the suite, "" where tasks were evaluated without one.
        kind: public class path of the suite, by which its tables and pictures are chosen.
        headline_tasks: names of the tasks that the suite's headline score is of; none: of all.
    """

    model: str
    tasks: dict[str, TaskResult]
    macro: dict[str, float]
    macro_intervals: dict[str, tuple[float, float]]
    seconds: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    policy: str = ""
    suite: str = ""
    kind: str = ""
    headline_tasks: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """The mean over tasks of each task's main metric, in 0..100."""
        return sum(task.score for task in self.tasks.values()) / len(self.tasks)

    def score_interval(self, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
        """Return the (low, high) bootstrap interval of `score`; records are resampled within each task."""
        groups = [[item.scores[task.metric] for item in task.items] for task in self.tasks.values()]
        low, high = bootstrap_interval(groups, confidence=confidence, resamples=resamples, seed=seed)
        return 100 * low, 100 * high

    def only(self, names: Collection[str]) -> EvaluationResult:
        """Return the result on some of its tasks, with their averages and intervals."""
        tasks = {name: task for name, task in self.tasks.items() if name in names}
        return self if len(tasks) == len(self.tasks) else self.with_tasks(tasks)

    def with_tasks(self, tasks: dict[str, TaskResult]) -> EvaluationResult:
        """Return the result with these tasks in place of its own, with their averages and intervals."""
        macro, intervals = macro_average(tasks)
        return replace(self, tasks=tasks, macro=macro, macro_intervals=intervals)

    def summary(self) -> dict[str, float]:
        """Return `task/metric` and `macro/metric` as flat numbers for a logger."""
        flat = {f"{name}/{key}": value for name, task in self.tasks.items() for key, value in task.summary().items()}
        return flat | {f"macro/{metric}": value for metric, value in self.macro.items()}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> EvaluationResult:
        """Return the result that `to_json` wrote. Raises `KeyError` or `TypeError` for another object."""
        tasks = {}
        for name, task in row["tasks"].items():
            items = tuple(ItemResult(**item) for item in task["items"])
            tasks[name] = TaskResult(**{**task, "items": items, "intervals": _pairs(task["intervals"])})
        headline = tuple(row.get("headline_tasks", ()))
        macro_intervals = _pairs(row["macro_intervals"])
        return cls(**{**row, "tasks": tasks, "macro_intervals": macro_intervals, "headline_tasks": headline})

    def save(self, path: Path) -> None:
        """Write JSON atomically: the file is complete or unchanged."""
        write_checked_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> EvaluationResult:
        """Read what `save` wrote. Raises `DataError` if the file is missing or is not a result."""
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            return cls.from_json(verified(row, path, "run the same evaluation again; its predictions are kept"))
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such evaluation result; give a JSON file that an evaluation wrote") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: not an evaluation result ({error!r}); give one that an evaluation wrote"
            ) from error


def task_result(
    name: str,
    metrics: Sequence[str],
    items: Sequence[ItemResult],
    skipped: dict[str, str],
    buckets: Mapping[str, Sequence[str]] | None,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> TaskResult:
    """Return a task's result from its items.

    Args:
        name: the task.
        metrics: names of the scores, main one first.
        items: at least one.
        skipped: record id to reason.
        buckets: bucket to record ids.
        confidence, resamples, seed: settings of the bootstrap.
    """
    intervals = {}
    for metric in metrics:
        values = [item.scores[metric] for item in items]
        low, high = bootstrap_interval([values], confidence=confidence, resamples=resamples, seed=seed)
        intervals[metric] = (100 * low, 100 * high)
    by_bucket: dict[str, dict[str, float | int | None]] | None = None
    if buckets is not None:
        by_bucket = {}
        main = {item.id: item.scores[metrics[0]] for item in items}
        for bucket, ids in buckets.items():
            values = [main[i] for i in ids if i in main]
            by_bucket[bucket] = {"score": _percent(values) if values else None, "n": len(values)}
    return TaskResult(
        name=name,
        scores={metric: _percent([item.scores[metric] for item in items]) for metric in metrics},
        intervals=intervals,
        n=len(items),
        format_failures=sum(not item.well_formed for item in items),
        truncated_responses=sum(item.truncated for item in items),
        cut_prompts=sum(item.cut for item in items),
        skipped=skipped,
        buckets=by_bucket,
        items=tuple(items),
    )


def macro_average(
    tasks: dict[str, TaskResult], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return the mean over tasks (0..100) of each metric that any of them has, and its bootstrap interval."""
    means, intervals = {}, {}
    for metric in dict.fromkeys(metric for task in tasks.values() for metric in task.scores):
        having = [task for task in tasks.values() if metric in task.scores]
        means[metric] = round(sum(task.scores[metric] for task in having) / len(having), 2)
        groups = [[item.scores[metric] for item in task.items] for task in having]
        low, high = bootstrap_interval(groups, confidence=confidence, resamples=resamples, seed=seed)
        intervals[metric] = (100 * low, 100 * high)
    return means, intervals


def compare(
    first: EvaluationResult,
    second: EvaluationResult,
    *,
    metric: str | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, PairedTest]:
    """Return the paired test per task and over all ("macro"): second minus first, in points of 0..100.

    Records are matched by id; those that only one of the two answered are left out.

    Args:
        first: the baseline, for example the base model.
        second: the result to compare with it.
        metric: name of the score; None takes each task's main one.
        confidence, resamples, seed: settings of the test (`statistics.paired_test`).

    Raises:
        ConfigError: the two have no task, metric and record in common.
    """
    pairs = _paired_scores(first, second, list(first.tasks), metric)
    settings: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    tests = {name: paired_test([a], [b], **settings) for name, (a, b) in pairs.items()}
    return tests | {"macro": paired_test(*_sides(pairs), **settings)}


def compare_headlines(first: EvaluationResult, second: EvaluationResult) -> PairedTest:
    """Return the paired test of two results on the tasks of their headline score; see `compare`."""
    pairs = _paired_scores(first, second, first.headline_tasks or list(first.tasks))
    return paired_test(*_sides(pairs))


def _sides(pairs: Mapping[str, tuple[list[float], list[float]]]) -> tuple[list[list[float]], list[list[float]]]:
    """Return the first results' scores task by task, and the second's."""
    return [first for first, _ in pairs.values()], [second for _, second in pairs.values()]


def _paired_scores(
    first: EvaluationResult, second: EvaluationResult, tasks: Sequence[str], metric: str | None = None
) -> dict[str, tuple[list[float], list[float]]]:
    """Return for each task the scores (0..100) of both results on the records that both answered."""
    pairs: dict[str, tuple[list[float], list[float]]] = {}
    for name in tasks:
        if name not in second.tasks:
            continue
        one, other = first.tasks[name], second.tasks[name]
        wanted = metric or one.metric
        if wanted not in one.scores or wanted not in other.scores:
            continue
        others = {item.id: item.scores[wanted] for item in other.items}
        shared = [(100 * item.scores[wanted], 100 * others[item.id]) for item in one.items if item.id in others]
        if shared:
            pairs[name] = ([a for a, _ in shared], [b for _, b in shared])
    if not pairs:
        raise ConfigError(
            f"{first.model!r} and {second.model!r} share no task, metric and record; "
            f"tasks: {', '.join(tasks)} against {', '.join(second.tasks)}"
        )
    return pairs


def _percent(fractions: Sequence[float]) -> float:
    # Summed in order and rounded like the official scorer, so that the second decimal is the same.
    return round(100 * sum(fractions) / len(fractions), 2)


def _pairs(intervals: dict[str, Any]) -> dict[str, tuple[float, float]]:
    return {key: (low, high) for key, (low, high) in intervals.items()}
