"""A table of one or several evaluation results side by side, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.results import EvaluationResult, TaskResult, compare

if TYPE_CHECKING:
    from rich.table import Table


def results_table(results: Sequence[EvaluationResult], *, test: bool = True) -> Table:
    """Return a table with a row per task and metric and a column per result; the first result is the baseline.

    Cells read "score [low, high]" in 0..100. With several results each further one also gets a column with its
    difference from the first and the p-value of the paired test over the records both answered.

    Args:
        results: at least one, in column order.
        test: whether to add the columns of differences.
    """
    from rich.table import Table

    table = Table(title="evaluation", title_justify="left", title_style="bold", header_style="bold")
    table.add_column("task")
    table.add_column("metric")
    table.add_column("n", justify="right")
    for position, result in enumerate(results):
        table.add_column(result.model, justify="right")
        if test and position:
            table.add_column("difference", justify="right")
    for name in dict.fromkeys(name for result in results for name in result.tasks):
        present = [result.tasks.get(name) for result in results]
        for metric in dict.fromkeys(metric for task in present if task for metric in task.scores):
            cells = [_cell(t.scores, t.intervals, metric) if t else "" for t in present]
            n = max(task.n for task in present if task)
            table.add_row(name, metric, str(n), *_with_differences(cells, results, name, metric, test))
        for bucket in dict.fromkeys(bucket for task in present if task for bucket in task.buckets or {}):
            cells = [_bucket(task, bucket) for task in present]
            blanks = [part for cell in cells[1:] for part in ((cell, "") if test else (cell,))]
            table.add_row("", f"  {bucket}", "", cells[0], *blanks)
    # Averages over other tasks cannot be compared.
    shared = set.intersection(*(set(result.tasks) for result in results))
    of = "" if all(set(result.tasks) == shared for result in results) else " of shared tasks"
    averaged = [result.only(shared) for result in results]
    if len(shared) > 1:
        table.add_section()
        for metric in _shared_metrics(averaged):
            cells = [_cell(result.macro, result.macro_intervals, metric) for result in averaged]
            table.add_row(f"macro average{of}", metric, "", *_with_differences(cells, averaged, "macro", metric, test))
        if any(len({task.metric for task in result.tasks.values()}) > 1 for result in averaged):
            cells = [_cell({"": result.score}, {"": result.score_interval()}, "") for result in averaged]
            table.add_row(f"average{of}", "each its own", "", *_with_differences(cells, averaged, "macro", None, test))
    return table


def notes(result: EvaluationResult) -> list[str]:
    """Return notes on the scores: unreadable and truncated answers, cut prompts, skipped records."""
    lines = []
    for task in result.tasks.values():
        counts = {
            "without a readable answer": task.format_failures,
            "responses cut off at the token limit": task.truncated_responses,
            "prompts cut in the middle": task.cut_prompts,
            "not scored": len(task.skipped),
            "with reasoning, which is cut off before scoring": sum(item.reasoned for item in task.items),
        }
        found = [f"{number} {what}" for what, number in counts.items() if number]
        if found:
            lines.append(f"{result.model}, {task.name} ({task.n} scored): {', '.join(found)}")
        lines += [f"  {reason}" for reason in list(task.skipped.values())[:3]]
    return lines


def _cell(scores: Mapping[str, float], intervals: Mapping[str, tuple[float, float]], metric: str) -> str:
    if metric not in scores:
        return ""
    low, high = intervals[metric]
    return f"{scores[metric]:.2f} [{low:.1f}, {high:.1f}]"


def _shared_metrics(results: Sequence[EvaluationResult]) -> list[str]:
    """Return the metrics that more than one task of a result has."""
    shared = []
    for metric in dict.fromkeys(metric for result in results for metric in result.macro):
        if any(sum(metric in task.scores for task in result.tasks.values()) > 1 for result in results):
            shared.append(metric)
    return shared


def _bucket(task: TaskResult | None, bucket: str) -> str:
    entry = (task.buckets or {}).get(bucket) if task else None
    if entry is None or entry["score"] is None:
        return "" if entry is None else "no record"
    return f"{entry['score']:.2f} (n {entry['n']})"


def _with_differences(
    cells: Sequence[str], results: Sequence[EvaluationResult], name: str, metric: str | None, test: bool
) -> list[str]:
    if not test:
        return list(cells)
    row = [cells[0]]
    for cell, result in zip(cells[1:], results[1:], strict=True):
        row.append(cell)
        both = bool(cell and cells[0])
        try:
            found = compare(results[0], result, metric=metric).get(name) if both else None
        except ConfigError:  # the same task without a record in common
            found = None
        row.append(f"{found.difference:+.2f} (p {found.p_value:.3f})" if found else "")
    return row
