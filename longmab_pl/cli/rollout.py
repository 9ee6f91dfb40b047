"""`longmab rollout`: the start, which refuses a cluster that cannot be used before a library is imported."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.cli.command_line import option_value, options
from longmab_pl.errors import ConfigError
from longmab_pl.rollout.cluster.settings import ClusterSettings


def run(args: Sequence[str]) -> None:
    """Run the command."""
    cluster = cluster_settings(args)
    if cluster is not None:
        cluster.refuse_unreachable()
    from longmab_pl.cli import round

    round.run(args, cluster)


def cluster_settings(args: Sequence[str]) -> ClusterSettings | None:
    """Return the cluster that a command's arguments name; None: none.

    Raises:
        ConfigError: an option's value cannot be used, or `--workers` is given without `--ray`.
    """
    workers = option_value(args, "--workers")
    gpus = option_value(args, "--worker-gpus") or option_value(args, "--worker_gpus")
    if not any(name == "ray" for name, _, _ in options(args)):
        if workers is not None or gpus is not None:
            raise ConfigError("--workers and --worker-gpus are for a rollout on a cluster; add --ray")
        return None
    try:
        return ClusterSettings(
            option_value(args, "--ray") or "",
            2 if workers is None else int(workers),
            None if gpus is None else float(gpus),
        )
    except ValueError as error:
        raise ConfigError(f"--workers takes a whole number, and --worker-gpus a number ({error})") from error
