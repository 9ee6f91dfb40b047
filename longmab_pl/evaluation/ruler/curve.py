"""RULER's numbers by task and length, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from longmab_pl.evaluation.cells import draw_cells
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.ruler.scoring import effective_length
from longmab_pl.evaluation.ruler.task import BUCKET

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

Curve = Mapping[int, float]
"""Mean score of the tasks in percent by length in tokens, ascending."""


def task_curves(result: EvaluationResult) -> dict[str, dict[int, float]]:
    """Return each task's score by length, without lengths that could not be asked."""
    curves = {}
    for name, task in result.tasks.items():
        known = {bucket: found["score"] for bucket, found in (task.buckets or {}).items()}
        scores = {
            int(bucket.removeprefix(BUCKET)): float(score) for bucket, score in known.items() if score is not None
        }
        curves[name] = dict(sorted(scores.items()))
    return curves


def length_scores(result: EvaluationResult) -> dict[int, float]:
    """Return the mean over the tasks by length."""
    curves = task_curves(result)
    lengths = sorted({length for curve in curves.values() for length in curve})
    return {n: fmean(curve[n] for curve in curves.values() if n in curve) for n in lengths}


def curve_table(result: EvaluationResult, threshold: float) -> Table:
    """Return a table: tasks down, lengths across, the means below; the caption names the effective length."""
    from rich.table import Table

    curves, means = task_curves(result), length_scores(result)
    table = Table(title=f"RULER, {result.model}", title_justify="left", title_style="bold", header_style="bold")
    table.add_column("task")
    for length in means:
        table.add_column(f"{length:,}", justify="right")
    table.add_column("mean", justify="right")
    for name, curve in curves.items():
        cells = [f"{curve[length]:.1f}" if length in curve else "–" for length in means]
        table.add_row(name, *cells, f"{result.tasks[name].score:.1f}")
    table.add_section()
    table.add_row("mean", *(f"{score:.1f}" for score in means.values()), f"{result.score:.1f}", style="bold")
    low, high = result.score_interval()
    reached = effective_length(means, threshold)
    table.caption = (
        f"{len(curves)} of 13 tasks, 95% interval of the mean {low:.1f} to {high:.1f}; effective length (above "
        f"{threshold:g}): {'none of these' if reached is None else f'{reached:,}'}"
    )
    table.caption_justify = "left"
    return table


def draw_curves(curves: Mapping[str, Curve], threshold: float) -> Figure:
    """Draw scores over lengths, a line for each model, and the threshold.

    Args:
        curves: curve by model, at least one.
        threshold: score that counts as effective, in percent.

    Returns:
        A figure without a window, which needs no closing.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for model, curve in curves.items():
        axis.plot(list(curve), list(curve.values()), marker="o", label=model)
    axis.axhline(threshold, color="0.6", linewidth=1, linestyle="--", label=f"effective above {threshold:g}")
    lengths = sorted({length for curve in curves.values() for length in curve})
    axis.set_xscale("log", base=2)
    axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axis.minorticks_off()
    axis.set_ylim(-2, 102)
    axis.set_xlabel("tokens of prompt and answer")
    axis.set_ylabel("RULER score, %")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    return figure


def draw_task_maps(results: Sequence[EvaluationResult]) -> Figure:
    """Draw heat maps side by side on one scale, 0 to 100: lengths across, tasks down.

    Args:
        results: at least one.

    Returns:
        A figure without a window, which needs no closing.
    """
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(name for result in results for name in result.tasks))
    lengths = sorted({length for result in results for length in length_scores(result)})
    width = len(results) * max(0.75 * len(lengths), 2.4) + 2.6
    figure = Figure(figsize=(width, 0.36 * len(tasks) + 1.5), layout="constrained")
    axes = figure.subplots(1, len(results), squeeze=False, sharey=True)[0]
    for axis, result in zip(axes, results, strict=True):
        curves = task_curves(result)
        cells = [[curves.get(task, {}).get(length) for length in lengths] for task in tasks]
        image = draw_cells(axis, cells, [f"{length:,}" for length in lengths], tasks)
        axis.set_title(result.model, fontsize=10, loc="left", fontweight="bold")
        axis.set_xlabel("tokens of prompt and answer")
    bar = figure.colorbar(image, ax=axes, fraction=0.05, aspect=22, pad=0.02)
    bar.set_label("score, %")
    bar.outline.set_visible(False)
    return figure
