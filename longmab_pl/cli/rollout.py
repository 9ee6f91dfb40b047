"""`longmab rollout`: the start, which refuses a cluster that cannot be used before a library is imported."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.cli.cluster import refuse_unusable_cluster
from longmab_pl.cli.command_line import option_value
from longmab_pl.cli.inputs_check import refuse_missing_model
from longmab_pl.cli.settings.merged import merged_config


def run(args: Sequence[str]) -> None:
    """Run the command."""
    config = merged_config(args[1:])
    refuse_unusable_cluster(config)
    adapter = option_value(args, "--adapter")
    if adapter is not None:
        refuse_missing_model(str(config.value("model", "model", default="")), adapter, "model.model")
    from longmab_pl.cli import round

    round.run(args)
