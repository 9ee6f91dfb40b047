"""Pictures of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longmab_pl.errors import DataError

if TYPE_CHECKING:
    pass
from longmab_pl.reporting.run_report import load_report


def draw(run: Path) -> Path:
    """Draw `report.png` in a run folder: reward by pull, pulls by arm, evaluation by round; without rollouts the
    training metrics take the place of the first two.

    Returns:
        The picture's path.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    report = load_report(run)
    rounds = [(row["round"], _traces(run / "rounds" / row["folder"])) for row in report["rounds"] if "folder" in row]
    evaluations = report["evaluations"]
    panels = 3 if rounds or evaluations else 2
    figure, axes = plt.subplots(1, panels, figsize=(4.3 * panels, 3.8), layout="constrained")
    if rounds:
        _draw_rollouts(axes, rounds)
    else:
        _draw_training(axes, report["rounds"])
    if panels == 3:
        _draw_evaluations(axes[2], evaluations, "rounds" if rounds else "epochs")
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    path = run / "report.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _draw_evaluations(axis: Any, evaluations: list[dict[str, Any]], unit: str) -> None:
    for key, label in (("eval/subem", "SubEM"), ("eval/f1", "F1"), ("eval/em", "EM")):
        points = [(e["round"], e[key]) for e in evaluations if key in e]
        if points:
            axis.plot(*zip(*points, strict=True), marker="o", label=label)
    axis.set(
        title="Evaluation (held-out questions, full context)",
        xlabel=f"{unit} trained",
        ylabel="score",
        ylim=(0, None),
    )
    if axis.lines:
        axis.legend(frameon=False, fontsize=8)


def _draw_rollouts(axes: Any, rounds: list[tuple[int, list[dict[str, Any]]]]) -> None:
    import matplotlib.pyplot as plt

    colors = plt.get_cmap("viridis")([0.15 + 0.7 * i / max(len(rounds) - 1, 1) for i in range(len(rounds))])
    for (number, traces), color in zip(rounds, colors, strict=True):
        means = _reward_by_pull(traces)
        axes[0].plot(range(1, len(means) + 1), means, marker="o", ms=3, color=color, label=f"round {number}")
        shares = _pulls_by_rank(traces)
        axes[1].plot(range(1, len(shares) + 1), shares, marker="o", ms=3, color=color, label=f"round {number}")
    axes[0].set(title="Reward of the sampled answers", xlabel="bandit pull", ylabel="mean reward", ylim=(0, None))
    axes[1].set(
        title="Pulls per arm", xlabel="arms of a record, most pulled first", ylabel="share of pulls", ylim=(0, None)
    )
    _pulls_of_evidence(axes[1], rounds)
    for axis in axes[:2]:
        axis.legend(frameon=False, fontsize=8)


def _draw_training(axes: Any, epochs: list[dict[str, Any]]) -> None:
    for axis, name, title in (
        (axes[0], "train/rewards/accuracies", "Chosen answer preferred (share of pairs)"),
        (axes[1], "train/rewards/margins", "Reward margin of chosen over rejected"),
    ):
        points = [(row["round"], row[name]) for row in epochs if name in row]
        if points:
            axis.plot(*zip(*points, strict=True), marker="o", ms=4)
        axis.set(title=title, xlabel="epoch", ylabel="mean over the epoch", ylim=(0, None))


def _traces(folder: Path) -> list[dict[str, Any]]:
    """A round's rollouts without their texts, which may be many."""
    path = folder / "rollouts.jsonl"
    if not path.exists():
        raise DataError(f"{path} is missing: the report needs the run's rounds folder as the run left it")
    traces = []
    with path.open(encoding="utf-8") as f:
        for row in map(json.loads, f):
            if row["status"] == "ok":
                row["responses"] = [{"pull": r["pull"], "reward": r["reward"]} for r in row["responses"]]
                traces.append(row)
    return traces


def _reward_by_pull(traces: list[dict[str, Any]]) -> list[float]:
    by_pull: dict[int, list[float]] = {}
    for row in traces:
        for response in row["responses"]:
            by_pull.setdefault(response["pull"], []).append(response["reward"])
    return [sum(v) / len(v) for _, v in sorted(by_pull.items())]


def _pulls_by_rank(traces: list[dict[str, Any]]) -> list[float]:
    """Mean share of pulls of a record's most pulled arm, its second, ..."""
    ranks: dict[int, list[float]] = {}
    for row in traces:
        total = max(sum(row["pulls"]), 1)
        for rank, pulls in enumerate(sorted(row["pulls"], reverse=True)):
            ranks.setdefault(rank, []).append(pulls / total)
    return [sum(v) / len(traces) for _, v in sorted(ranks.items())]


def _pulls_of_evidence(axis: Any, rounds: list[tuple[int, list[dict[str, Any]]]]) -> None:
    """Write below the title how much more often chunks with the answer are pulled than chance would."""
    lifts = []
    for _, traces in rounds:
        for row in traces:
            gold = sum(row["evidence"])
            if gold and gold < row["arms"] and sum(row["pulls"]):
                share = sum(p for p, e in zip(row["pulls"], row["evidence"], strict=True) if e) / sum(row["pulls"])
                lifts.append(share / (gold / row["arms"]))
    if lifts:
        axis.text(
            0.05,
            0.08,
            f"chunks that hold the answer\nare pulled {sum(lifts) / len(lifts):.2f}x as often as chance",
            transform=axis.transAxes,
            fontsize=8,
        )
