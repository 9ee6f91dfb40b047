"""Settings of a rollout on a cluster, checked before Ray or a model is loaded."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from longmab_pl.checks import at_least, not_negative
from longmab_pl.errors import ConfigError
from longmab_pl.shown import quoted

LOCAL = "local"
"""Address of a cluster that is started on this machine for the time of the command."""

CONNECT_SECONDS = 5.0
"""Seconds for which the head of a cluster is given to accept a connection."""


@dataclass(frozen=True)
class ClusterSettings:
    """Settings of rollouts on the workers of a Ray cluster (`--ray`, `--workers` and `--worker-gpus`).

    Args:
        address: address of the cluster's head (`10.0.0.1:6379`), `auto` for the cluster that runs on this machine, or
            `local` for one of this machine alone that ends with the command; "" is the environment's RAY_ADDRESS, and
            `local` without one.
        workers: number of workers, each with an engine of its own.
        gpus_per_worker: GPUs of each worker, which may be a fraction; None: one if the cluster has GPUs, and none for
            an engine on servers that run already.

    Raises:
        ConfigError: a number is out of range, or the address has no form that Ray knows.
    """

    address: str = ""
    workers: int = 2
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        at_least("data.cluster.workers", self.workers, 1)
        if self.gpus_per_worker is not None:
            not_negative("data.cluster.gpus_per_worker", self.gpus_per_worker, "use 0 for workers without a GPU")
        if self.place.startswith("ray://"):
            raise ConfigError(
                f"data.cluster.address {quoted(self.place)} is the address of a Ray client, which cannot see the run "
                "folder; run the command on a machine of the cluster, with --ray auto"
            )
        if self.place not in (LOCAL, "auto") and not re.fullmatch(r"[^\s:/]+:\d{1,5}", self.place):
            raise ConfigError(
                f"data.cluster.address {quoted(self.place)} is no address of a Ray cluster; give host:port of its "
                "head (10.0.0.1:6379), `auto`, or no address for workers on this machine"
            )

    @property
    def place(self) -> str:
        """The address, with the default filled in."""
        return self.address or os.environ.get("RAY_ADDRESS", "") or LOCAL

    def refuse_too_few_servers(self, servers: int) -> None:
        """Refuse workers of which some would have no server.

        Args:
            servers: number of the servers that run already.

        Raises:
            ConfigError: there are fewer servers than workers.
        """
        if self.workers > servers:
            raise ConfigError(
                f"data.cluster.workers is {self.workers}, more than the {servers} servers of data.engine.servers; give "
                f"--workers {servers} or fewer: each has some of the servers"
            )

    def refuse_unreachable(self) -> None:
        """Refuse a missing Ray, or an address at which nothing listens.

        Raises:
            ConfigError: Ray is not installed, or the head does not accept a connection within `CONNECT_SECONDS`.
        """
        if find_spec("ray") is None:
            raise ConfigError(
                "data.cluster needs the package 'ray', which is not installed; pip install 'longmab-pl[ray]' (from a "
                "clone: pip install -e '.[ray]')"
            )
        if self.place in (LOCAL, "auto"):
            return
        host, _, port = self.place.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"data.cluster.address {self.place}: no cluster answers there ({why}); check "
                "the address (`ray status` on its head prints it), or start a head with `ray start --head`"
            ) from error


def refuse_budgets(names: Iterable[str]) -> None:
    """Refuse a limit of what an engine may be asked.

    Args:
        names: names of the further engines that have a budget.

    Raises:
        ConfigError: there is one.
    """
    for name in names:
        raise ConfigError(
            f"data.engines.{name}.budget is for rollouts in one process: workers of a cluster do not see what the "
            "others have spent; leave it out, or leave out data.cluster (--ray)"
        )
