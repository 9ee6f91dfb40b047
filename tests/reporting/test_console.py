from __future__ import annotations

from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from longmab_pl.cli.main import main
from longmab_pl.evaluation import EvaluationEntry, Score
from longmab_pl.reporting.console import LiteralConsole
from longmab_pl.reporting.run_report import RunReport, round_table

NAMES = ["[/]y", "[/red]z", "[bold]x", ":smile:"]


@pytest.mark.parametrize("name", [*NAMES, "a\x1b[31mb"])
def test_names_are_printed_as_they_are(name, capsys):
    table = Table(title=f"title {name}", caption=f"caption {name}")
    table.add_column(f"column {name}")
    table.add_row(f"cell {name}")
    table.add_row(Text("styled", style="bold"))
    console = LiteralConsole(width=80)
    console.print(table)
    console.print(f"path {name}")
    shown = capsys.readouterr().out
    name = name.replace("\x1b", "\\x1b")
    assert "\x1b" not in shown
    for place in ("title", "caption", "column", "cell", "path"):
        assert f"{place} {name}" in shown


@pytest.mark.parametrize("name", NAMES)
def test_a_report_of_a_folder_with_markup_in_its_name(name, capsys, tmp_path):
    run = tmp_path / name
    run.mkdir(parents=True)
    RunReport([{"round": 1, "rollout/reward": 0.5, "pairs/count": 3.0}], []).save(run)
    main(["report", str(run)])
    assert f"picture    {run}" in capsys.readouterr().out


def test_no_number_of_the_closing_table_is_cut_on_80_columns(capsys):
    row: dict[str, Any] = {
        "folder": "rounds/000-x",
        "rollout/records": 4800.0,
        "pairs/count": 3100.0,
        "rollout/usable_pair_rate": 0.646,
        "pairs/chosen_reward": 0.84,
        "pairs/rejected_reward": 0.01,
        "train/rewards/accuracies": 0.742,
        "train/rewards/margins": 10.125,
    }
    scores = {name: Score(value, value - 5, value + 5) for name, value in (("f1", 44.4), ("em", 40.6), ("subem", 48.4))}
    evaluations = [
        EvaluationEntry(when, number, number, "qa", None, 64, scores, 1.0, 0.0, None, "model", "folder")
        for number, when in enumerate(("before training", "after round 1"))
    ]
    LiteralConsole(width=80).print(round_table(RunReport([{"round": 1} | row], evaluations)))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for cell in ("4800", "3100 (65%)", "0.84", "0.01", "74%", "10.125", "44.4", "40.6", "48.4"):
        assert cell in shown
