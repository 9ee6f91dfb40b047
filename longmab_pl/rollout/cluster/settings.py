"""Settings of a rollout on a cluster, checked before Ray or a model is loaded."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from longmab_pl.checks import at_least, not_negative
from longmab_pl.errors import ConfigError
from longmab_pl.shown import quoted

LOCAL = "local"
"""Address of a cluster that is started on this machine for the time of the command."""

CONNECT_SECONDS = 5.0
"""Seconds for which the head of a cluster is given to accept a connection."""

_GRPC_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a gRPC client says first: the start of HTTP/2, and settings that change nothing."""

_GRPC_SETTINGS = b"\x04"
"""Type of the frame with which a gRPC server answers, its fourth byte."""


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
        """Refuse a missing Ray, an address at which nothing listens, and `auto` where no cluster runs.

        Raises:
            ConfigError: Ray is not installed, the head does not accept a connection within `CONNECT_SECONDS`, or this
                machine is in no cluster.
        """
        if find_spec("ray") is None:
            raise ConfigError(
                "data.cluster needs the package 'ray', which is not installed; pip install 'longmab-pl[ray]' (from a "
                "clone: pip install -e '.[ray]')"
            )
        if self.place == "auto" and "RAY_ADDRESS" not in os.environ:
            _refuse_no_node()
        elif self.place not in (LOCAL, "auto"):
            _refuse_unanswered(self.place)


def _refuse_no_node() -> None:
    """Refuse a machine on which no node of a cluster runs, where its processes can be seen."""
    processes = Path("/proc")
    if processes.is_dir() and not any(_is_node(process) for process in processes.glob("[0-9]*/cmdline")):
        raise ConfigError(
            "data.cluster.address is auto, but no node of a Ray cluster runs on this machine; give host:port of the "
            "cluster's head, or no address for workers on this machine alone"
        )


def _is_node(command: Path) -> bool:
    try:
        return command.read_bytes().split(b"\0", 1)[0].endswith(b"/raylet")
    except OSError:  # it has ended
        return False


def _refuse_unanswered(address: str) -> None:
    """Refuse an address at which no gRPC server answers, as a head is one: Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS) as connection:
            connection.sendall(_GRPC_GREETING)
            answer = connection.recv(9, socket.MSG_WAITALL)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"data.cluster.address {address}: no cluster answers there ({why}); check the address (`ray status` on its "
            "head prints it), or start a head with `ray start --head`"
        ) from error
    if answer[3:4] != _GRPC_SETTINGS and os.environ.get("RAY_USE_TLS", "0") == "0":
        raise ConfigError(
            f"data.cluster.address {address}: what answers there is no head of a Ray cluster; give the address that "
            "`ray status` on the head prints (the port is 6379 by default, and not the dashboard's 8265)"
        )


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
