"""Work in a child process that a test may kill."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tqdm.auto import tqdm


def in_child(work):
    """Run `work` in a forked process without its output; returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # tqdm's own lock is shared with forked processes: one that is killed in it would stop all others.
        tqdm.set_lock(threading.RLock())
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        code = work() or 0
    finally:
        os._exit(code)
