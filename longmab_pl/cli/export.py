"""`longmab export`: a trained adapter in the formats of other programs."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.cli.arguments import call
from longmab_pl.cli.function_options import refuse_wrong_options
from longmab_pl.cli.run_log import start_log


def run(args: Sequence[str]) -> None:
    """Run the command."""
    refuse_wrong_options("longmab_pl.export.export", "export", args)
    start_log()
    from longmab_pl.cli.quiet import quiet_transformers
    from longmab_pl.export.export import export

    quiet_transformers()
    call(export, args)
