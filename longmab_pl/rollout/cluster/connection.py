"""The connection to a Ray cluster for the time of a command."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import ray

from longmab_pl.errors import ConfigError, EngineError
from longmab_pl.live import step
from longmab_pl.rollout.cluster.settings import LOCAL, ClusterSettings
from longmab_pl.shown import first_line

_OBJECT_STORE_BYTES = 200_000_000
"""Size of the object store of a cluster on this machine alone: records and rollouts pass through it one by one."""

HEAD_SECONDS = 10.0
"""Seconds for which the cluster's head may not answer; after a minute Ray ends all processes of the cluster, this one
too, without saying what to do."""

CHECK_HEAD_SECONDS = 1.0
"""Seconds between two looks at the head, and for which one may take."""


class HeadWatch:
    """Notices that the head of the cluster, which is connected, is gone."""

    def __init__(self) -> None:
        self.address: str = ray.get_runtime_context().gcs_address
        self._answered = self._asked = time.monotonic()

    def check(self) -> None:
        """See whether the head answers.

        Raises:
            EngineError: it has not for `HEAD_SECONDS`.
        """
        now = time.monotonic()
        if now - self._asked < CHECK_HEAD_SECONDS:
            return
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=CHECK_HEAD_SECONDS).close()
            self._answered = now
        except OSError as error:
            if now - self._answered > HEAD_SECONDS:
                raise EngineError(
                    f"the head of the cluster at {self.address} is gone ({error.strerror or error}); start another "
                    "one if it was not of this machine alone, then the same command: it continues from here"
                ) from error
        self._asked = time.monotonic()


@contextlib.contextmanager
def connected(settings: ClusterSettings) -> Iterator[None]:
    """Connect to the cluster, or start one on this machine, and leave it at the end; a connection that is there
    already is used and kept.

    Raises:
        ConfigError: there is no cluster at the address, or it has another version of Ray or Python, or too few GPUs.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(own_module_folders())}}
    try:
        with step(f"connecting to Ray ({settings.place})"):
            if settings.place == LOCAL:
                os.environ.setdefault("RAY_worker_niceness", "0")  # they compute what this process would
                ray.init(
                    address=LOCAL,
                    _node_ip_address="127.0.0.1",
                    include_dashboard=False,
                    runtime_env=environment,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=_OBJECT_STORE_BYTES,
                )
            else:
                ray.init(
                    address=settings.place, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR
                )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"data.cluster.address {settings.place}: cannot join the cluster ({first_line(error)}); `ray status` there "
            "says whether it runs, and its Ray and Python must be the versions of this machine"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def own_module_folders() -> list[str]:
    """Return the folders from which this process imports modules that are not installed: a strategy or a reward of
    one's own is there, and the workers need it too."""
    installed = (sys.prefix, sys.base_prefix)
    folders = [os.path.abspath(place) for place in sys.path if not place.endswith(".zip")]
    return [folder for folder in folders if not any(Path(folder).is_relative_to(place) for place in installed)]


def gpus_of_workers(settings: ClusterSettings, served_elsewhere: bool) -> float:
    """Return the GPUs of each worker.

    Args:
        settings: settings of the cluster, which is connected.
        served_elsewhere: whether the engine uses servers that run already.

    Raises:
        ConfigError: the cluster has too few GPUs for the workers.
    """
    available = float(ray.cluster_resources().get("GPU", 0))
    each = settings.gpus_per_worker
    if each is None:
        each = 1.0 if available and not served_elsewhere else 0.0
    if each * settings.workers > available:
        raise ConfigError(
            f"data.cluster: {settings.workers} workers of {each:g} GPUs each need more than the cluster's "
            f"{available:g}; lower --workers or --worker-gpus"
        )
    return each
