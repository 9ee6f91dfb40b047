"""SIGTERM while an engine works: ended as by Ctrl-C, at once, and not when the whole rollout is over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM inside the block; what is finished by then is on disk.

    Cluster schedulers send SIGTERM some seconds before they kill. Lightning alone notices it after a training step,
    which is after the rollout or evaluation under way. Signals come to the main thread, so elsewhere nothing changes.
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
