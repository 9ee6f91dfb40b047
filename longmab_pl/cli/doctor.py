"""`longmab doctor`: check whether a configuration runs on this machine, without loading weights, and compute the
memory of each phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveFloat
from lightning.pytorch.cli import LightningArgumentParser

from longmab_pl.cli.lightning import ParseOnlyCLI, total_epochs
from longmab_pl.cli.quiet import quiet_lightning
from longmab_pl.preflight.budget import PHASES, Budget
from longmab_pl.preflight.checks import PreflightReport
from longmab_pl.preflight.hardware import this_machine
from longmab_pl.preflight.memory_model import GIB

if TYPE_CHECKING:
    from rich.table import Table


def run(args: Sequence[str]) -> None:
    """Run the command."""
    quiet_lightning()
    raise SystemExit(diagnose(args))


def diagnose(args: Sequence[str]) -> int:
    """Check a configuration and this machine, and print the memory budget of each phase.

    Args:
        args: the command's name, the arguments of `longmab fit`, and `--gpu-memory-gb N` to plan for one GPU with N GiB
            instead of this machine.

    Returns:
        the exit status: 0, or 1 if a check fails.
    """
    cli = ParseOnlyCLI([*args, "--seed_everything=false"], _add_arguments, "Exit status 1 if the run will fail.")
    config = cli.config
    total_epochs(cli.datamodule, cli.model, config.trainer.max_epochs)
    found = PreflightReport(cli.model, cli.datamodule, config.trainer, this_machine(), config.gpu_memory_gb)
    show(found)
    return 1 if any(finding.level == "fail" for finding in found.findings) else 0


def _add_arguments(parser: LightningArgumentParser) -> None:
    parser.add_argument(
        "--gpu-memory-gb",
        type=PositiveFloat | None,
        default=None,
        help="plan for one GPU with so many GiB instead of this machine",
    )


def show(found: PreflightReport) -> None:
    """Print the report."""
    from rich.text import Text

    from longmab_pl.reporting.console import wide_console

    console = wide_console()
    console.print(_versions_table(found))
    console.print(_machine_table(found))
    if found.budget is not None:
        console.print(_budget_table(found.budget, found))
    marks = {"ok": ("ok  ", "green"), "warn": ("WARN", "yellow"), "fail": ("FAIL", "bold red")}
    for finding in sorted(found.findings, key=lambda f: ("ok", "warn", "fail").index(f.level)):
        mark, style = marks[finding.level]
        line = _table(None, "", "")
        line.add_row(Text(mark, style=style), finding.text)
        console.print(line)
    failures = sum(f.level == "fail" for f in found.findings)
    warnings = sum(f.level == "warn" for f in found.findings)
    if failures:
        console.print(
            Text(f"{failures} thing{'s' * (failures > 1)} will fail", style="bold red"), ", see FAIL above", sep=""
        )
    else:
        rest = f", {warnings} to look at" if warnings else ""
        console.print(Text("nothing will fail", style="bold green"), rest, sep="")


def _table(title: str | None, *columns: str) -> Table:
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=None, show_header=any(columns)
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _versions_table(found: PreflightReport) -> Table:
    from rich.text import Text

    table = _table("versions", "package", "found", "asked for")
    for row in found.versions:
        version = row.found or "not installed"
        table.add_row(row.name, version if row.fits else Text(version, style="bold red"), row.wanted)
    return table


def _machine_table(found: PreflightReport) -> Table:
    machine = found.machine
    table = _table("this machine", "", "")
    for gpu in machine.gpus:
        memory = f"{gpu.free / GIB:.1f} of {gpu.total / GIB:.1f} GiB free"
        table.add_row("GPU", f"{gpu.name}, {memory}, compute capability {gpu.capability[0]}.{gpu.capability[1]}")
    if not machine.gpus:
        table.add_row("GPU", "none that torch can use")
    bf16 = {True: "with bf16 instructions", False: "no bf16 instructions", None: "bf16 instructions unknown"}
    table.add_row("processor", f"{machine.processor}, {machine.cores} cores, {bf16[machine.bf16]}")
    table.add_row("host memory", f"{machine.available / GIB:.1f} of {machine.memory / GIB:.1f} GiB free")
    if found.elsewhere:
        table.add_row("planned for", f"one GPU with {found.gpu_memory_gb:g} GiB, not this machine", style="bold")
    return table


def _budget_table(budget: Budget, found: PreflightReport) -> Table:
    size = found.size
    assert size is not None
    title = (
        f"{budget.device}, GiB by phase: {found.model.model} ({size.parameters / 1e9:.2f} billion parameters, adapter "
        f"{size.adapter / 1e6:.1f} million), batches of {budget.training.tokens:,} tokens"
    )
    table = _table(title, "", *PHASES, "setting")
    for column in table.columns[1:-1]:
        column.justify = "right"

    def row(name: str, values: Sequence[float], last: str = "", style: str | None = None) -> None:
        table.add_row(name, *(f"{v / GIB:.2f}" if v else "-" for v in values), last, style=style)

    for line in budget.lines:
        row(line.name, line.phases, line.settings)
    row("together", budget.totals, style="bold")
    row(f"left of {budget.capacity / GIB:.2f}", [budget.capacity - total for total in budget.totals])
    if budget.host:
        table.add_row(
            "host memory besides", f"{budget.host / GIB:.1f}", "", "", "the sleeping engine's weights, Python"
        )
    return table
