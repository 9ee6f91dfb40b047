"""A thread that makes written bytes safe from a power cut, with one fsync for all bytes waiting."""

from __future__ import annotations

import os
import threading


class FsyncThread:
    """A thread that calls `fsync` when an append-only file grows.

    Args:
        descriptor: file descriptor, open for as long as the thread runs.
        end: number of bytes already on disk.
    """

    def __init__(self, descriptor: int, end: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._end = self._durable = end  # bytes written, and bytes that are safe from a power cut
        self._closing = False
        self._thread: threading.Thread | None = None
        self.error: BaseException | None = None
        """Error that stopped the thread, or None."""

    def wrote_to(self, end: int) -> None:
        """Start making the file durable up to `end` bytes."""
        with self._changed:
            self._end = end
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fsync", daemon=True)
            self._thread.start()

    def is_durable(self, end: int) -> bool:
        """Return whether the first `end` bytes are safe from a power cut."""
        return self._durable >= end

    def wait(self, end: int) -> bool:
        """Wait until the first `end` bytes are durable; return False if that failed (see `error`)."""
        with self._changed:
            self._changed.wait_for(lambda: self._durable >= end or self.error is not None)
        return self.error is None

    def close(self) -> None:
        """Make all written bytes durable and end the thread; safe to call twice."""
        if self._thread is not None:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._durable < self._end)
                if self._durable == self._end:
                    return
                end = self._end
            try:
                os.fsync(self._descriptor)
            except BaseException as error:  # any error: waiting callers must be released
                with self._changed:
                    self.error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._durable = end
                self._changed.notify_all()
