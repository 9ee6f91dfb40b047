"""An event loop in a thread, for synchronous code."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """An event loop that runs coroutines in its own daemon thread."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
        """Run a coroutine to its end and return its result; an interrupt (Ctrl-C) in the caller cancels the coroutine.

        Raises:
            TimeoutError: the coroutine took longer than `seconds`, and was cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(seconds)
        except BaseException:
            future.cancel()
            raise

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Schedule a function call in the loop's thread, without waiting for it."""
        self.loop.call_soon_threadsafe(function, *args)

    def stop(self) -> None:
        """Stop the loop and end the thread. Safe to call twice."""
        if self.loop.is_closed():
            return
        with contextlib.suppress(Exception):
            self.run(self.loop.shutdown_default_executor(), 5.0)
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self.loop.close()
