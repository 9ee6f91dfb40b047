"""A run's report: the table that closes a run and its picture, from what the run left in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longmab_pl.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table


def load_report(run: Path) -> dict[str, Any]:
    """Read `report.json` of a run folder.

    Raises:
        DataError: there is none (the run has not ended yet) or it cannot be read.
    """
    path = run / "report.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise DataError(f"{path} does not exist: give the folder of a finished run (trainer.default_root_dir)") from e
    except ValueError as e:
        raise DataError(f"{path} is not JSON: {e}") from e
    return report


def round_table(report: dict[str, Any]) -> Table:
    """The closing table: one row before training and one per round (or per epoch over pairs that were given)."""
    from rich.table import Table

    rolled_out = any("folder" in row for row in report["rounds"])
    what = "round" if rolled_out else "epoch"
    title = "on-policy rounds" if rolled_out else "epochs over given pairs"
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    columns = {
        what: lambda row: str(row["round"]),
        "records": lambda row: f"{row['rollout/records']:.0f}",
        "usable pairs": lambda row: f"{row['pairs/count']:.0f} ({row['rollout/usable_pair_rate']:.0%})",
        "reward +": lambda row: f"{row['pairs/chosen_reward']:.2f}",
        "reward -": lambda row: f"{row['pairs/rejected_reward']:.2f}",
        "pairs": lambda row: f"{row['pairs/count']:.0f}",
        "DPO acc": lambda row: f"{row['train/rewards/accuracies']:.0%}",
        "DPO margin": lambda row: f"{row['train/rewards/margins']:.3f}",
        "EM": lambda row: _score(report, row, "eval/em"),
        "F1": lambda row: _score(report, row, "eval/f1"),
        "SubEM": lambda row: _score(report, row, "eval/subem"),
    }
    for name in ("pairs",) if rolled_out else ("records", "usable pairs", "reward +", "reward -"):
        del columns[name]
    rows = []
    for row in [{"round": 0}, *report["rounds"]]:
        cells = {}
        for name, shown in columns.items():
            try:
                cells[name] = shown(row)
            except KeyError:  # a metric that this run has not
                cells[name] = ""
        rows.append(cells | {what: cells[what] if row["round"] else "before"})
    filled = [name for name in columns if any(cells[name] for cells in rows)]
    for name in filled:
        table.add_column(name, justify="left" if name == what else "right", no_wrap=True)
    for cells in rows:
        if any(cells[name] for name in filled if name != what):
            table.add_row(*(cells[name] for name in filled))
    return table


def _score(report: dict[str, Any], row: dict[str, Any], name: str) -> str:
    return next((f"{e[name]:.1f}" for e in report["evaluations"] if e["round"] == row["round"] and name in e), "")


def statistics_table(statistics: dict[str, float], title: str) -> Table:
    """What one rollout gave, or what pairs were made of it: a line for each number that a person looks at."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    s = statistics
    failed = f", {s['rollout/failed_records']:.0f} failed" if s["rollout/failed_records"] else ""
    separated, no_signal = s.get("rollout/separated_rate", 0.0), s.get("rollout/no_signal_rate", 0.0)
    stopped = (
        [("stopped early", f"{separated:.0%} separated, {no_signal:.0%} no signal")] if separated or no_signal else []
    )
    rows = [
        ("records", f"{s['rollout/records']:.0f}{failed}"),
        ("responses", f"{s['rollout/responses']:.0f}"),
        ("mean reward, best of a record", f"{s['rollout/reward']:.3f}, {s['rollout/best_reward']:.3f}"),
        ("in the asked format", f"{s['rollout/answer_format_rate']:.0%}"),
        ("cut at max_tokens", f"{s['rollout/truncated_rate']:.0%}"),
        ("probes rejected", f"{s['rollout/probe_rejected_rate']:.0%}"),
        *stopped,
        ("records with a usable pair", f"{s['rollout/usable_pair_rate']:.0%}"),
        ("pairs", f"{s['pairs/count']:.0f}"),
        ("pairs per 1,000 responses", f"{1000 * s['pairs/count'] / max(s['rollout/responses'], 1):.0f}"),
        ("reward of chosen, rejected", f"{s['pairs/chosen_reward']:.2f}, {s['pairs/rejected_reward']:.2f}"),
    ]
    for row in rows:
        table.add_row(*row)
    return table
