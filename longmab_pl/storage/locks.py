"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longmab_pl.errors import ConfigError
from longmab_pl.storage.files import cannot_write, remove_partials

LOCK = ".lock"
"""The lock's file in the folder; it stays there and means nothing when no process holds it."""


@contextmanager
def folder_lock(folder: Path, at_work: str) -> Iterator[None]:
    """Hold a folder for this process, and delete what killed processes left half written in it.

    The lock ends with the process, however it ends.

    Args:
        folder: made if missing.
        at_work: what the other process is doing there, for the message, such as `a training run`.

    Raises:
        ConfigError: another process holds the folder.
        LongMabError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")
    except OSError as error:
        raise cannot_write(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{folder} is in use by another process: {at_work} is running there. Wait for it, stop it, or use "
                "another folder."
            ) from error
        except OSError:
            pass  # a file system without locks
        else:
            remove_partials(folder)
        yield
