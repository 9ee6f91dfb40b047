"""A text log in a run folder: lines are appended and flushed; a full disk loses lines, never the run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO


class TextLog:
    """Appends lines to a file; before `open` they wait in memory.

    Args:
        limit: number of lines that wait at most; the first ones are kept.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self.limit = limit
        self.path: Path | None = None
        self._waiting: list[str] = []
        self._file: IO[str] | None = None

    def open(self, path: Path) -> None:
        """Begin to write to a file, with the lines that have waited; a file that cannot be opened is done without."""
        with contextlib.suppress(OSError):
            self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
            self.path = path
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            self.write(line)

    def write(self, line: str) -> None:
        """Append a line."""
        if self._file is None:
            if len(self._waiting) < self.limit:
                self._waiting.append(line)
            return
        with contextlib.suppress(OSError, ValueError):
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file; later lines wait again."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
