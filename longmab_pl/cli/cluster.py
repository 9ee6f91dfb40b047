"""The cluster that a config names, refused before a library is imported if it cannot be used."""

from __future__ import annotations

from longmab_pl.cli.settings.merged import MergedConfig, Section
from longmab_pl.rollout.cluster.settings import ClusterSettings, refuse_budgets


def cluster_settings(config: MergedConfig) -> ClusterSettings | None:
    """Return the cluster of a config's rollouts, whose names and types have been checked; None: this process.

    Raises:
        ConfigError: a number is out of range, or the address has no form that Ray knows.
    """
    given = config.value("data", "cluster")
    return ClusterSettings(**given) if isinstance(given, Section) else None


def refuse_unusable_cluster(config: MergedConfig) -> None:
    """Refuse a cluster that is not there, and engines that cannot be divided among its workers.

    Raises:
        ConfigError: the message names the setting and the fix.
    """
    settings = cluster_settings(config)
    if settings is None:
        return
    engines = config.value("data", "engines") or {}
    refuse_budgets(name for name, one in engines.items() if isinstance(one, Section) and one.get("budget") is not None)
    if servers := config.value("data", "engine", "servers"):
        settings.refuse_too_few_servers(len(servers) if isinstance(servers, list) else 1)
    settings.refuse_unreachable()
