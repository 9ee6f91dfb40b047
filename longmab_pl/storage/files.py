"""Atomic writing of files and folders: they get their name only when complete, even after a kill or a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from longmab_pl.errors import LongMabError
from longmab_pl.shown import tell

PARTIAL = ".longmab-partial"
"""Suffix of files and folders that are still being written; `remove_partials` deletes those of killed processes."""

REPLACED = f".replaced{PARTIAL}"
"""Suffix of a folder that is being replaced by a newer version."""


def fsync_file(file: IO[Any]) -> None:
    """Write a file's contents to disk (fsync) and wait for it."""
    file.flush()
    os.fsync(file.fileno())


def fsync_dir(folder: Path) -> None:
    """Write a folder's entries to disk (fsync), if the system can; a new file is safe only then."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})
"""Error numbers of a full or protected disk, after whose repair the same command continues."""


@contextmanager
def disk_errors_of(folder: Path) -> Iterator[None]:
    """Raise disk errors that name no file, as those of other programs' writers, with the folder's name.

    A disk error that ends a thread, such as that of TensorBoard's writer, is one line in place of a traceback.

    Raises:
        LongMabError: the disk is full or the folder cannot be written.
    """
    by_default = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if isinstance(failed.exc_value, OSError) and failed.exc_value.errno in DISK_ERRORS:
            tell(f"warning: a log of the run in {folder} stopped: {failed.exc_value.strerror}")
        else:
            by_default(failed)

    threading.excepthook = hook
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS and error.filename is None:
            raise cannot_write(f"a file in {folder}", error) from error
        raise
    finally:
        threading.excepthook = by_default


def cannot_write(path: Path | str, error: OSError, then: str = "run the same command again") -> LongMabError:
    """Return the error for a file that cannot be written: its path, the reason, and how to continue."""
    reason = error.strerror or repr(error)
    if error.errno == errno.ENAMETOOLONG:
        return LongMabError(f"cannot write {path}: {reason}. Give a shorter name.")
    return LongMabError(f"cannot write {path}: {reason}. Free some space (or fix the permissions) and {then}.")


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file for writing that gets its name only when complete; its folder is created.

    Example:
        with atomic_write(folder / "report.json") as file:
            file.write(text)

    Raises:
        LongMabError: the disk is full or the file cannot be written; an older file is intact.
    """
    with _replacing(path, "w") as file:
        yield file


@contextmanager
def atomic_write_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file for writing that gets its name only when complete; otherwise as `atomic_write`."""
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
    """Create a folder that gets its name only when the block ends; an older folder is replaced.

    Raises:
        LongMabError: the disk is full or the folder cannot be written; an older folder is intact.
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
    """Delete the partial files of killed processes in a folder and below; no process may be writing there."""
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
    """Return whether an error concerns this file, not another file used inside the block."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (path, path.parent) or named.is_relative_to(partial) or path.is_relative_to(named)
