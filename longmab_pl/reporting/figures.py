"""The picture of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.reporting.rollout_trace import (
    RolloutTrace,
    best_so_far,
    evidence_lift,
    mean_of_step,
    read_traces,
    share_of_pulls_by_rank,
)
from longmab_pl.reporting.run_report import METRIC_TITLES, RunReport, load_report, shown_metrics
from longmab_pl.storage.files import atomic_write_binary

Round = tuple[int, list[RolloutTrace]]

ACCURACY = ("train/rewards/accuracies", "Chosen answer preferred (share of pairs)")
MARGIN = ("train/rewards/margins", "Reward margin of chosen over rejected")
"""Training metrics with their titles."""


def draw(run: Path) -> Path:
    """Draw `report.png` in a run folder: reward by pull, pulls by arm, evaluations.

    Without rollouts, training metrics replace the first two.

    Returns:
        The picture's path.

    Raises:
        DataError: the run has no report, or a round's rollouts are missing.
        LongMabError: the picture cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    report = load_report(run)
    rounds = [(row["round"], read_traces(run / "rounds" / row["folder"])) for row in report.rounds if "folder" in row]
    panels = 3 if rounds or report.evaluations else 2
    figure = Figure(figsize=(4.3 * panels, 3.8), layout="constrained")
    axes = figure.subplots(1, panels)
    if rounds:
        reward_panel(axes[0], rounds)
        if any(trace.pulls for _, traces in rounds for trace in traces):
            pulls_panel(axes[1], rounds)
        else:  # a method without arms
            training_panel(axes[1], report.rounds, *ACCURACY)
    else:
        training_panel(axes[0], report.rounds, *ACCURACY)
        training_panel(axes[1], report.rounds, *MARGIN)
    for axis in axes[:2]:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if panels == 3:
        evaluations_panel(axes[2], report)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    path = run / "report.png"
    with atomic_write_binary(path) as file:
        figure.savefig(file, format="png", dpi=130)
    return path


def reward_panel(axis: Any, rounds: Sequence[Round]) -> None:
    """Draw the reward by pull; a record that stopped keeps its last value."""
    for (number, traces), color in zip(rounds, _colors(len(rounds)), strict=True):
        for means, style in ((best_so_far(traces), "-"), (mean_of_step(traces), "--")):
            label = f"round {number}" if style == "-" else None
            axis.plot(range(1, len(means) + 1), means, style, marker="o", ms=3, color=color, label=label)
    axis.plot([], [], "-", color="0.4", label="best answer so far")
    step = "pull" if any(trace.pulls for _, traces in rounds for trace in traces) else "step"
    axis.plot([], [], "--", color="0.4", label=f"mean of the {step}'s answers")
    axis.set(
        title="Reward over all records",
        xlabel=f"{step} (records that stopped keep their last value)",
        ylabel="mean over records",
        ylim=(0, None),
    )
    axis.set_ylim(0, 1.35 * axis.get_ylim()[1])  # room for the legend above the lines
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")


def pulls_panel(axis: Any, rounds: Sequence[Round]) -> None:
    """Draw how a record's pulls are spread over its arms, and how often chunks with the answer are pulled."""
    for (number, traces), color in zip(rounds, _colors(len(rounds)), strict=True):
        shares = share_of_pulls_by_rank(traces)
        axis.plot(range(1, len(shares) + 1), shares, marker="o", ms=3, color=color, label=f"round {number}")
    axis.set(
        title="Pulls per arm", xlabel="arms of a record, most pulled first", ylabel="share of pulls", ylim=(0, None)
    )
    lift = evidence_lift([trace for _, traces in rounds for trace in traces])
    if lift is not None:
        text = f"chunks that hold the answer\nare pulled {lift:.2f}x as often as chance"
        axis.text(0.05, 0.08, text, transform=axis.transAxes, fontsize=8)
    axis.legend(frameon=False, fontsize=8)


def training_panel(axis: Any, epochs: Sequence[Mapping[str, Any]], name: str, title: str) -> None:
    """Draw a training metric by round (or epoch over given pairs)."""
    points = [(row["round"], row[name]) for row in epochs if name in row]
    if points:
        axis.plot(*zip(*points, strict=True), marker="o", ms=4)
    what = "round" if any("folder" in row for row in epochs) else "epoch"
    axis.set(title=title, xlabel=what, ylabel="mean over its last epoch", ylim=(0, None))


def evaluations_panel(axis: Any, report: RunReport) -> None:
    """Draw the scores of suites with their intervals, and thin lines for single tasks in the color of their suite.

    Points are placed by optimizer step and labeled by finished rounds.
    """
    suites = report.suites()
    several, used = len(suites) > 1, 0
    for suite, whole in suites.items():
        for metric in shown_metrics(whole[0]):
            title = METRIC_TITLES.get(metric, metric)
            _draw_line(axis, whole, metric, f"C{used % 10}", f"{suite} {title}" if several else title)
            used += 1
        for position, of_task in enumerate(report.tasks(suite).values()):
            label = f"{suite}, by task" if position == 0 else None
            _draw_line(axis, of_task, of_task[0].metric, f"C{(used - 1) % 10}", label, thin=True)
    marks = {
        entry.step: str(entry.round)
        for entry in report.evaluations
        if entry.when in ("before training", f"after round {entry.round}")
    }
    axis.set(
        title="Evaluations (shaded: 95% intervals)",
        xlabel=f"{'rounds' if report.rolled_out else 'epochs'} trained" if marks else "optimizer steps",
        ylabel="score",
        ylim=(0, None),
    )
    if marks:
        axis.set_xticks(list(marks), list(marks.values()))
    if axis.lines:
        axis.legend(frameon=False, fontsize=8)


def _draw_line(
    axis: Any, entries: Sequence[EvaluationEntry], metric: str, color: str, label: str | None, thin: bool = False
) -> None:
    points = {entry.step: entry.scores[metric] for entry in entries if metric in entry.scores}
    steps, values = list(points), [score.value for score in points.values()]
    if thin:
        axis.plot(steps, values, color=color, lw=0.7, alpha=0.6, label=label)
        return
    axis.plot(steps, values, color=color, marker="o", ms=4, label=label)
    bounds = [(score.low, score.high) for score in points.values()]
    if all(low is not None for low, _ in bounds):
        axis.fill_between(steps, *zip(*bounds, strict=True), color=color, alpha=0.12, lw=0)


def _colors(n: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](0.15 + 0.7 * i / max(n - 1, 1)) for i in range(n)]
