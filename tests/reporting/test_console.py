from __future__ import annotations

import pytest
from rich.table import Table
from rich.text import Text

from longmab_pl.cli.main import main
from longmab_pl.reporting.console import LiteralConsole
from longmab_pl.reporting.run_report import RunReport

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
