"""Files and folders that appear under their name only when they are whole, also after a kill or a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from longmab_pl.errors import LongMabError

PARTIAL = ".longmab-partial"
"""Ending of what is still being written; `remove_partials` deletes what a kill left behind."""

REPLACED = f".replaced{PARTIAL}"
"""Ending of a folder that is being replaced by its newer version."""


def fsync_file(file: IO[Any]) -> None:
    """Wait until what was written to the file is on disk."""
    file.flush()
    os.fsync(file.fileno())


def fsync_dir(folder: Path) -> None:
    """Wait until a folder's names are on disk, where the system can: a new file is safe only when its entry is too."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot_write(path: Path | str, error: OSError, then: str = "run the same command again") -> LongMabError:
    """Return the error for a file that cannot be written: which, why, and how to go on."""
    reason = error.strerror or repr(error)
    if error.errno == errno.ENAMETOOLONG:
        return LongMabError(f"cannot write {path}: {reason}. Give a shorter name.")
    return LongMabError(f"cannot write {path}: {reason}. Free some space (or fix the permissions) and {then}.")


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file that appears under its name only when it is whole; its folder is made.

    Example:
        with atomic_write(folder / "report.json") as file:
            file.write(text)

    Raises:
        LongMabError: the disk is full or the file cannot be written; what stood there before is intact.
    """
    with _replacing(path, "w") as file:
        yield file


@contextmanager
def atomic_write_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of bytes that appears under its name only when it is whole; otherwise as `atomic_write`."""
    with _replacing(path, "wb") as file:
        yield file


@contextmanager
def _replacing(path: Path, mode: str) -> Iterator[IO[Any]]:
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with cast(IO[Any], partial.open(mode, encoding=None if "b" in mode else "utf-8")) as file:
            yield file
            fsync_file(file)
        partial.replace(path)
        fsync_dir(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and _is_about(error, partial, path):
            raise cannot_write(path, error) from error
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a new folder to fill that appears under its name only when it is whole; an older one there is replaced.

    Raises:
        LongMabError: the disk is full or the folder cannot be written; what stood there before is intact.
    """
    partial, replaced = path.with_name(path.name + PARTIAL), path.with_name(path.name + REPLACED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            path.rename(replaced)
        partial.rename(path)
        fsync_dir(path.parent)
    except BaseException as error:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        if isinstance(error, OSError) and _is_about(error, partial, path):
            raise cannot_write(path, error) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def remove_partials(folder: Path) -> None:
    """Delete what a killed process left half written in a folder and below; call it while nobody writes there."""
    for found in sorted(folder.rglob(f"*{PARTIAL}")):
        whole = found.with_name(found.name.removesuffix(REPLACED))
        with contextlib.suppress(OSError):
            if found.name.endswith(REPLACED) and not whole.exists():
                found.rename(whole)  # killed between the two renames
            elif found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()


def _is_about(error: OSError, partial: Path, path: Path) -> bool:
    """Whether the error is this file's own: an error about another file, read meanwhile, is somebody else's."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (path, path.parent) or named.is_relative_to(partial) or path.is_relative_to(named)
