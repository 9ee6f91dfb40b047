"""`longmab export`: a trained adapter in the formats of other programs."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.cli.arguments import call
from longmab_pl.cli.quiet import quiet_transformers
from longmab_pl.export.export import export


def run(args: Sequence[str]) -> None:
    """Run the command."""
    quiet_transformers()
    call(export, args)
