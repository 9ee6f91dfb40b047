"""SIGTERM handling during a rollout or evaluation: it ends the run at once, as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM inside the block; finished work is on disk by then.

    Cluster schedulers send SIGTERM some seconds before they kill a job. Lightning checks for it only after a training
    step, so after the current rollout or evaluation. Signals reach the main thread only; in other threads this does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> NoReturn:
        raise KeyboardInterrupt("SIGTERM")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
