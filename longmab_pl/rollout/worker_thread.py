"""The thread in which strategies run, so that the engine does not wait while one cuts, embeds or tokenizes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class WorkerThread(Generic[T]):
    """A thread that runs jobs one at a time, urgent ones first; no two strategies use a tokenizer or embedder at once.

    The jobs run mostly outside Python's global lock (tokenizers, matrix products), as the engine's steps do.
    """

    def __init__(self) -> None:
        self._jobs: queue.PriorityQueue[tuple[int, int, Callable[[], T] | None]] = queue.PriorityQueue()
        self._results: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()
        self._given = 0
        self._thread: threading.Thread | None = None
        self.unfinished = 0
        """Number of jobs whose results have not been taken."""

    def put(self, job: Callable[[], T], urgency: int) -> None:
        """Queue a job: the lowest `urgency` number runs first, equal ones in order."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="strategies", daemon=True)
            self._thread.start()
        self._given += 1
        self.unfinished += 1
        self._jobs.put((urgency, self._given, job))

    def take(self, patience: float | None) -> T | None:
        """Return the result of a finished job, or None if there is none within `patience` seconds (None: no limit).

        Raises:
            BaseException: the error that the job raised.
        """
        try:
            result = self._results.get(timeout=patience) if patience != 0 else self._results.get_nowait()
        except queue.Empty:
            return None
        self.unfinished -= 1
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        """Wait for the running job and drop those that wait. Safe to call twice."""
        if self._thread is not None:
            self._jobs.put((-1, 0, None))
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while True:
            _, _, job = self._jobs.get()
            if job is None:
                return
            try:
                self._results.put(job())
            except BaseException as e:  # raised again where the result is taken
                self._results.put(e)
