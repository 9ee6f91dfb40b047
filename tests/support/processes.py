"""Surroundings of processes that tests start together."""

from __future__ import annotations

import os
import socket
from pathlib import Path

SUPPORT = Path(__file__).parent


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment for one that finds the tests' support modules and computes on one core."""
    path = os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | more


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])
