"""`longmab report`: the tables of a run and its page; or a page that compares several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longmab_pl.cli.arguments import call, paths_as_list
from longmab_pl.cli.function_options import refuse_wrong_options
from longmab_pl.errors import ConfigError
from longmab_pl.reporting.console import wide_console
from longmab_pl.reporting.run_report import evaluations_table, load_report, round_table


def report(runs: list[str], out: str | None = None, live: bool = False, port: int = 8321) -> None:
    """Print the tables of a run and write its report.html; of several runs, write a page that compares them.

    Args:
        runs: run folders (trainer.default_root_dir); of several, the first is the baseline.
        out: file of the page. Default: report.html in the run folder; comparison.html here for several runs.
        live: serve the page on this machine while the run goes on, until Ctrl-C; it follows the run.
        port: port of the live page; 0 takes a free one.

    Raises:
        ConfigError: `live` with several runs, or the port is in use.
        DataError: a folder is no run's.
    """
    folders = [Path(run) for run in runs]
    if live:
        if len(folders) != 1 or out is not None:
            raise ConfigError("report --live follows one run and writes no file; give one run folder and no --out")
        _serve(folders[0], port)
        return
    console = wide_console()
    if len(folders) > 1:
        from longmab_pl.reporting.html.comparison import write_comparison

        console.print(f"report     {write_comparison(folders, Path(out or 'comparison.html'))}", soft_wrap=True)
        return
    from longmab_pl.reporting.figures import draw
    from longmab_pl.reporting.html.page import write_page

    found = load_report(folders[0])
    console.print(round_table(found))
    if found.evaluations:
        console.print(evaluations_table(found))
    console.print(f"picture    {draw(folders[0])}", soft_wrap=True)
    console.print(f"report     {write_page(folders[0], Path(out) if out is not None else None)}", soft_wrap=True)


def _serve(run: Path, port: int) -> None:
    from longmab_pl.reporting.html.live import LiveServer

    with LiveServer(run, port) as server:
        print(f"report     {server.url}   (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def run(args: Sequence[str]) -> None:
    """Run the command."""
    given = [args[0], *paths_as_list(args[1:])]
    refuse_wrong_options(__name__, "report", given)
    call(report, given)
