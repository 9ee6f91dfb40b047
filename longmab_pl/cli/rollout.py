"""`longmab rollout`: the start, which refuses a cluster that cannot be used before a library is imported."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.cli.cluster import refuse_unusable_cluster
from longmab_pl.cli.settings.merged import merged_config


def run(args: Sequence[str]) -> None:
    """Run the command."""
    refuse_unusable_cluster(merged_config(args[1:]))
    from longmab_pl.cli import round

    round.run(args)
