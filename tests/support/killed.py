"""Work in a child process that a test may kill, and rounds that are killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm.auto import tqdm

from longmab_pl.engines import ScriptedEngine
from longmab_pl.rollout.round_folder import RoundFolder


class SlowEngine(ScriptedEngine):
    """Takes a millisecond or two a poll, and stops at a size of the journal, so that there is something to kill."""

    def __init__(self, answer, journal: Path, most: float, **settings) -> None:
        super().__init__(answer, **settings)
        self.journal, self.most = journal, most

    def poll(self):
        time.sleep(0.0015)
        while self.journal.stat().st_size > self.most:
            time.sleep(1)
        return super().poll()


def kill_until_complete(
    store: RoundFolder, work: Callable[[float], None], rng: random.Random, *, kills: int, apart: int, beyond: int
) -> None:
    """Run a round's work in child processes until the round is complete; kill (SIGKILL) the first of them.

    Args:
        store: the round's folder.
        work: called in the child with the size of the journal at which its engines are to stop.
        rng: draws the moments.
        kills: how many children are killed.
        apart: the journal grows by fewer bytes than this before a kill.
        beyond: engines stop where the journal has grown by more bytes than this since the moment of the kill.
    """
    killed = 0
    while not store.complete:
        # The moment is a size of the journal, and a bit later: it falls anywhere between two of its writes.
        size = store.journal.stat().st_size if store.journal.exists() else 0
        goal = size + rng.randrange(apart) if killed < kills else float("inf")
        pid = in_child(partial(work, goal + beyond))
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if store.journal.exists() and store.journal.stat().st_size > goal:
                time.sleep(rng.random() * 0.004)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                killed += 1
                break
            time.sleep(0.0003)
        else:
            assert killed == kills, f"the child ended by itself after {killed} kills"
    assert killed == kills


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
