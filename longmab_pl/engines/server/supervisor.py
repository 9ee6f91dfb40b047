"""A small process that stops a server when the training process that started it ends.

Run as a script: `python supervisor.py PARENT_PID COMMAND...`. It needs only the standard library. However the parent
ends (also by kill -9), this process detects that it has become an orphan and stops the server's whole process group,
workers included.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

LOOK_SECONDS = 0.5
"""Seconds between two checks of parent, server and signals."""

GRACE_SECONDS = 15.0
"""Seconds for the server to end after SIGTERM, before SIGKILL."""


def supervise(parent: int, command: list[str]) -> int:
    """Run a command until it ends, `parent` ends, or this process gets SIGTERM or SIGINT.

    Returns:
        the command's exit status.
    """
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only noted: an exception within `Popen.wait` could leave its lock taken, and a later wait would hang.
        signal.signal(number, lambda number, frame: asked.append(number))
    server = subprocess.Popen(command, process_group=0)
    try:
        while not asked and os.getppid() == parent:
            try:
                return server.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        _stop_group(server)
    return server.returncode


def _stop_group(server: subprocess.Popen[bytes]) -> None:
    """Stop all processes that the server started, which may outlive the server itself."""
    _signal_group(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        server.poll()  # reaps it, so that its group can become empty
        if not _signal_group(server.pid, 0):
            return
        time.sleep(0.1)
    _signal_group(server.pid, signal.SIGKILL)
    server.wait()


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group, and return whether the group existed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
