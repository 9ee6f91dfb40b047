"""`longmab report`: the tables and picture of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longmab_pl.cli.arguments import call
from longmab_pl.reporting.console import wide_console
from longmab_pl.reporting.figures import draw
from longmab_pl.reporting.run_report import evaluations_table, load_report, round_table


def report(run: str) -> None:
    """Print the tables of a run and draw its picture again.

    Args:
        run: the run folder (trainer.default_root_dir).
    """
    console = wide_console()
    found = load_report(Path(run))
    console.print(round_table(found))
    if found.evaluations:
        console.print(evaluations_table(found))
    console.print(f"picture    {draw(Path(run))}", soft_wrap=True)


def run(args: Sequence[str]) -> None:
    """Run the command."""
    call(report, args)
