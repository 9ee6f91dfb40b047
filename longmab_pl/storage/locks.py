"""Locks on folders, each held by one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longmab_pl.errors import ConfigError
from longmab_pl.storage.files import cannot_write, remove_partials

LOCK = ".lock"
"""Name of the lock file in the folder; it remains there after the lock is released."""


@contextmanager
def folder_lock(folder: Path, at_work: str) -> Iterator[None]:
    """Lock a folder for this process, and delete the partial files of killed processes in it.

    The lock is released when the process ends, even by a kill.

    Args:
        folder: the folder, created if missing.
        at_work: what another process is doing there, for the message, such as `a training run`.

    Raises:
        ConfigError: another process has locked the folder.
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
            pass  # the file system has no locks
        else:
            remove_partials(folder)
        yield
