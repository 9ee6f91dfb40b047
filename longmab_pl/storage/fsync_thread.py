"""A thread that makes what was written to a file safe from a power cut, all that has come together by then at once."""

from __future__ import annotations

import os
import threading


class FsyncThread:
    """Follows the end of an append-only file with `fsync`.

    Args:
        descriptor: of the file, which outlives the thread.
        end: bytes that are on disk already.
    """

    def __init__(self, descriptor: int, end: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._end = self._durable = end  # bytes written, and bytes that are safe from a power cut
        self._closing = False
        self._thread: threading.Thread | None = None
        self.error: BaseException | None = None
        """Why the thread gave up."""

    def wrote_to(self, end: int) -> None:
        """Begin to make the file durable up to here."""
        with self._changed:
            self._end = end
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fsync", daemon=True)
            self._thread.start()

    def is_durable(self, end: int) -> bool:
        """Return whether the file is safe from a power cut up to here."""
        return self._durable >= end

    def wait(self, end: int) -> bool:
        """Return when it is: True, or False if it cannot be made so (see `error`)."""
        with self._changed:
            self._changed.wait_for(lambda: self._durable >= end or self.error is not None)
        return self.error is None

    def close(self) -> None:
        """Make durable what was written and end the thread; safe to call twice."""
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
            except BaseException as error:  # whatever it is, nobody may wait for this thread for ever
                with self._changed:
                    self.error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._durable = end
                self._changed.notify_all()
