"""A small process between the training process and a server that it started: when the former ends, so does the latter.

Run as a script: `python supervisor.py PARENT_PID COMMAND...`. It needs nothing but the standard library. However the
parent ends (also by kill -9), this process notices that it has become an orphan and stops the server's whole process
group, workers included.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

LOOK_SECONDS = 0.5
"""Between two looks at parent and server."""

GRACE_SECONDS = 15.0
"""For the server to end by itself after SIGTERM, before SIGKILL."""


class _Stop(Exception):
    """Somebody asks this process to end."""


def _asked_to_stop(number: int, frame: object) -> None:
    raise _Stop


def supervise(parent: int, command: list[str]) -> int:
    """Run a command until it ends, `parent` ends, or this process is told to (SIGTERM, SIGINT).

    Returns:
        the command's exit status.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _asked_to_stop)
    server = subprocess.Popen(command, process_group=0)
    try:
        while os.getppid() == parent:
            try:
                return server.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    except _Stop:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _stop_group(server)
    return server.returncode


def _stop_group(server: subprocess.Popen[bytes]) -> None:
    """End everything that the server started, which may outlive the server itself."""
    _signal_group(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        server.poll()  # reaps it, so that an empty group is seen as empty
        if not _signal_group(server.pid, 0):
            return
        time.sleep(0.1)
    _signal_group(server.pid, signal.SIGKILL)
    server.wait()


def _signal_group(group: int, number: int) -> bool:
    """Whether there was anybody to signal."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
