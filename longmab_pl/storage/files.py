"""Files that a power cut leaves whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from longmab_pl.errors import LongMabError


def fsync_file(file: IO[Any]) -> None:
    """Wait until what was written to the file is on disk."""
    file.flush()
    os.fsync(file.fileno())


def fsync_dir(folder: Path) -> None:
    """Likewise for a folder's names, where the system can: a new file is safe only when its entry is on disk too."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[str]]:
    """A text file to write that appears under its name only when it is whole.

    Raises:
        LongMabError: the disk is full or the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
            fsync_file(file)
        partial.replace(path)
        fsync_dir(path.parent)
    except OSError as error:
        raise LongMabError(
            f"cannot write {path}: {error.strerror}. Free some space (or fix the permissions) and run the same command "
            "again."
        ) from error
