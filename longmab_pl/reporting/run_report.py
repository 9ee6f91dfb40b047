"""A run's report: `report.json` and the tables that close a run.

`report.json` holds two lists:
    rounds: an object for every round (or epoch over given pairs): `round` from 1, `folder` of its rollouts under
        `rounds/` if it has any, its statistics (`rollout/...`, `pairs/...`; `answers/count` of an epoch over answers
        without worse ones), and training metrics (`train/...`, means over its last epoch).
    evaluations: an object for every suite and for every task of it, each time that it was evaluated, in the order of
        optimizer steps: the fields of `longmab_pl.evaluation.EvaluationEntry`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longmab_pl.errors import DataError
from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.storage.checked_json import verified, write_checked_json

if TYPE_CHECKING:
    from rich.table import Table

METRIC_TITLES = {"em": "EM", "f1": "F1", "subem": "SubEM"}
"""Usual spelling of metrics by their key, where the two differ."""

_GENERAL = ("rollout/", "pairs/", "reward/")
"""Prefixes of statistics that every method has; the others come from the strategy's trace."""

MOST_COLUMNS = 6
"""Most evaluations side by side in a table; of more, the first and the last five are shown."""


@dataclass(frozen=True)
class RunReport:
    """The report of a run, as in `report.json`.

    Args:
        rounds: a row for every round or epoch (see the module's description).
        evaluations: rows in the order in which they were made.
    """

    rounds: Sequence[Mapping[str, Any]]
    evaluations: Sequence[EvaluationEntry]

    @property
    def rolled_out(self) -> bool:
        """Whether the pairs come from rollouts of this run."""
        return any("folder" in row for row in self.rounds)

    def suites(self) -> dict[str, list[EvaluationEntry]]:
        """Return the evaluations of each suite as a whole, in order."""
        found: dict[str, list[EvaluationEntry]] = {}
        for entry in self.evaluations:
            if entry.task is None:
                found.setdefault(entry.suite, []).append(entry)
        return found

    def tasks(self, suite: str) -> dict[str, list[EvaluationEntry]]:
        """Return the evaluations of each task of a suite, in order."""
        found: dict[str, list[EvaluationEntry]] = {}
        for entry in self.evaluations:
            if entry.suite == suite and entry.task is not None:
                found.setdefault(entry.task, []).append(entry)
        return found

    def has_more_evaluations(self) -> bool:
        """Return whether there are scores that `round_table` does not show: of single tasks, or from within rounds."""
        return any(entry.task is not None or not _at_round_end(entry) for entry in self.evaluations)

    def save(self, run: Path) -> None:
        """Write `report.json` in a run folder."""
        report = {"rounds": list(self.rounds), "evaluations": [entry.to_json() for entry in self.evaluations]}
        write_checked_json(run / "report.json", report)


def load_report(run: Path) -> RunReport:
    """Read `report.json` of a run folder.

    Raises:
        DataError: there is none (the first epoch has not ended yet) or it cannot be read.
    """
    path = run / "report.json"
    try:
        report = verified(
            json.loads(path.read_text(encoding="utf-8")), path, "the end of the next epoch writes it again"
        )
        if report.keys() != {"rounds", "evaluations"}:
            raise KeyError(", ".join(sorted(report.keys() ^ {"rounds", "evaluations"})))
        return RunReport(report["rounds"], [EvaluationEntry.from_json(row) for row in report["evaluations"]])
    except FileNotFoundError as e:
        raise DataError(f"{path} does not exist: give the folder of a run (trainer.default_root_dir)") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DataError(f"{path} is not the report of a run ({e!r}); give the file that the run wrote") from e


def round_table(report: RunReport) -> Table:
    """Return the closing table: one row before training and one for each round (or epoch over given pairs)."""
    from rich.table import Table

    what = "round" if report.rolled_out else "epoch"
    given = "answers" if any("answers/count" in row for row in report.rounds) else "pairs"
    title = "on-policy rounds" if report.rolled_out else f"epochs over given {given}"
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    columns = {
        what: lambda row: str(row["round"]),
        "records": lambda row: f"{row['rollout/records']:.0f}",
        "usable pairs": lambda row: f"{row['pairs/count']:.0f} ({row['rollout/usable_pair_rate']:.0%})",
        "reward +": lambda row: f"{row['pairs/chosen_reward']:.2f}",
        "reward -": lambda row: f"{row['pairs/rejected_reward']:.2f}",
        "pairs": lambda row: f"{row['pairs/count']:.0f}",
        "answers": lambda row: f"{row['answers/count']:.0f}",
        "SFT loss": lambda row: f"{_sft_loss(row):.3f}",
        "DPO acc": lambda row: f"{row['train/rewards/accuracies']:.0%}",
        "DPO margin": lambda row: f"{row['train/rewards/margins']:.3f}",
    }
    for name in ("pairs",) if report.rolled_out else ("records", "usable pairs", "reward +", "reward -"):
        del columns[name]
    scores = _scores_by_round(report)
    rows = []
    for row in [{"round": 0}, *report.rounds]:
        cells = {}
        for name, shown in columns.items():
            try:
                cells[name] = shown(row)
            except KeyError:  # a metric that this run does not have
                cells[name] = ""
        cells |= {name: by_round.get(row["round"], "") for name, by_round in scores.items()}
        rows.append(cells | {what: cells[what] if row["round"] else "before"})
    filled = [name for name in (*columns, *scores) if any(cells[name] for cells in rows)]
    for name in filled:
        # On a narrow terminal a title breaks between its words; a number never does.
        widest = max(len(cells[name]) for cells in rows)
        table.add_column(name, justify="left" if name == what else "right", min_width=widest)
    for cells in rows:
        if any(cells[name] for name in filled if name != what):
            table.add_row(*(cells[name] for name in filled))
    return table


def _sft_loss(row: Mapping[str, Any]) -> float:
    """Return the mean loss of a row without pairs; raise KeyError for another."""
    if "train/rewards/accuracies" in row:
        raise KeyError("no loss of SFT alone")
    return float(row["train/loss"])


def evaluations_table(report: RunReport) -> Table:
    """Return a table of all scores of suites and tasks with their intervals, a column for each evaluation."""
    from rich.table import Table

    times = list(dict.fromkeys(entry.when for entry in report.evaluations))
    left_out = len(times) - MOST_COLUMNS
    caption = f"{left_out} evaluations between are in report.json" if left_out > 0 else None
    if left_out > 0:
        times = [times[0], *times[1 - MOST_COLUMNS :]]
    table = Table(title="evaluations", title_justify="left", title_style="bold", header_style="bold", caption=caption)
    for column in ("suite", "task", "metric"):
        table.add_column(column)
    for when in times:
        table.add_column(when, justify="right")
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for entry in report.evaluations:
        for metric, score in entry.scores.items():
            key = (entry.suite, entry.task or "", METRIC_TITLES.get(metric, metric))
            cells.setdefault(key, {})[entry.when] = str(score)
    for suite in dict.fromkeys(suite for suite, _, _ in cells):
        table.add_section()
        for key, by_time in cells.items():
            if key[0] == suite:
                table.add_row(*key, *(by_time.get(when, "") for when in times))
    return table


def measured_metrics(entry: EvaluationEntry) -> list[str]:
    """Return the metrics that are not derived from others: the main one, and all with an interval."""
    return [name for name, score in entry.scores.items() if name == entry.metric or score.low is not None]


def shown_metrics(entry: EvaluationEntry) -> list[str]:
    """Return the metrics of a suite that a summary shows: measured ones that are not averages over tasks."""
    return [name for name in measured_metrics(entry) if "/" not in name]


def _scores_by_round(report: RunReport) -> dict[str, dict[int, str]]:
    """Return the scores of whole suites by column title and round; round 0 is before training."""
    whole = [entry for entry in report.evaluations if entry.task is None and _at_round_end(entry)]
    several = len({entry.suite for entry in whole}) > 1
    columns: dict[str, dict[int, str]] = {}
    for entry in whole:
        for metric in shown_metrics(entry):
            title = METRIC_TITLES.get(metric, metric)
            shown = f"{entry.scores[metric].value:.1f}"
            columns.setdefault(f"{entry.suite}\n{title}" if several else title, {})[entry.round] = shown
    return columns


def _at_round_end(entry: EvaluationEntry) -> bool:
    return entry.when in ("before training", f"after round {entry.round}")


def _reward_row(name: str, value: float) -> bool:
    """Return whether a mean belongs in the table: parts of rewards, and excluded responses where there are any."""
    return name.startswith("reward/") and (value > 0 or not name.endswith("/excluded_rate"))


def statistics_table(statistics: dict[str, float], title: str) -> Table:
    """Return a table of the statistics of one rollout, or of its pairs, with a line for each number."""
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
        *[(name.removeprefix("reward/"), f"{s[name]:.3f}") for name in sorted(s) if _reward_row(name, s[name])],
        ("cut at max_tokens", f"{s['rollout/truncated_rate']:.0%}"),
        *[(name, f"{s[name]:.3f}") for name in sorted(s) if not name.startswith(_GENERAL)],
        *stopped,
        ("records with a usable pair", f"{s['rollout/usable_pair_rate']:.0%}"),
        ("pairs", f"{s['pairs/count']:.0f}"),
        ("pairs per 1,000 responses", f"{1000 * s['pairs/count'] / max(s['rollout/responses'], 1):.0f}"),
        ("reward of chosen, rejected", f"{s['pairs/chosen_reward']:.2f}, {s['pairs/rejected_reward']:.2f}"),
    ]
    for row in rows:
        table.add_row(*row)
    return table
