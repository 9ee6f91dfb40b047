"""Append-only JSON Lines logs, used for all files that grow during a run.

Every line is a JSON object whose last field is a checksum of the bytes before it, so damaged lines are detected:

    {"log": "rollout journal", "format": 3, "fingerprint": "4b1c...", "crc": "0e5d7a10"}
    {"request_id": "q7/3", "texts": ["Lima"], "crc": "9a40c1fe"}
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from longmab_pl.errors import DataError, LongMabError
from longmab_pl.shown import tell
from longmab_pl.storage.files import cannot_write, fsync_dir
from longmab_pl.storage.fsync_thread import FsyncThread

Row = dict[str, Any]

_MARK = b', "crc": "'
_TAIL = len(_MARK) + len(b'01234567"}')
_NAMED = 5
"""Maximum number of damaged lines that a message lists."""


class LogInUse(DataError):
    """Another process is writing the log."""


@dataclass(frozen=True)
class LogKind:
    """Kind of a log: its name, format and messages.

    Args:
        name: name in the header and in messages, such as `rollout journal`.
        format: version in the header; raise it when the lines change, so that older files are refused.
        lost: message text on the effect of a damaged line, such as `its completion is asked for again`.
        then: message text on how to continue when the disk is full.
        busy: message text for a file that another process writes.
        durable: whether a background thread makes lines safe from a power cut (`write`, `is_durable`, `wait`).
        header: whether the file begins with a header line; without one the fingerprint is stored elsewhere.
    """

    name: str
    format: int
    lost: str
    then: str = "run the same command again: it continues where it stopped"
    busy: str = "Wait for it, stop it, or use another folder."
    durable: bool = False
    header: bool = True


def encode(row: Row) -> bytes:
    """Return a row as a line with its checksum."""
    body = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")[:-1]
    return b'%b%b%08x"}\n' % (body, _MARK, zlib.crc32(body))


def decode(line: bytes) -> Row | None:
    """Return a line's row without its checksum, or None for a damaged line."""
    line = line.removesuffix(b"\n")
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if tail != b'%b%08x"}' % (_MARK, zlib.crc32(body)):
        return None
    try:
        row: Row = json.loads(body + b"}")
    except (ValueError, RecursionError):
        return None
    return row


def read_rows(path: Path) -> Iterator[tuple[int, int, Row | None]]:
    """Yield the complete lines of a log: line number from 1, offset in bytes, and the row (None: damaged).

    The header and a last line without a line end are left out, so the log may be read while it is written.

    Raises:
        FileNotFoundError: there is no such file.
    """
    place = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            row = decode(line)
            if number > 1 or row is None or row.keys() != {"log", "format", "fingerprint"}:
                yield number, place, row
            place += len(line)


def read_fingerprint(path: Path, kind: LogKind) -> str | None:
    """Return the fingerprint in a log's header; None if there is no file or no such header."""
    try:
        with path.open("rb") as lines:
            header = decode(lines.readline())
    except (FileNotFoundError, NotADirectoryError):
        return None
    if header is None or header.get("log") != kind.name or header.get("format") != kind.format:
        return None
    return str(header["fingerprint"])


class AppendLog:
    """An append-only log, created or continued.

    Opening an existing file locks it, cuts off an incomplete last line, and reports damaged lines on stderr. Written
    lines survive the end of the process once `write` returns. With `kind.durable` a thread also makes them survive a
    power cut (fsync, some ms), and `wait` returns when that is done.

    Args:
        path: the file; its folder is created.
        kind: kind of the log.
        fingerprint: identifies the log's owner; a file with another fingerprint is refused.
        keep: called with every valid row in the file and its place, for `read`. A row on which it raises
            KeyError, TypeError or ValueError counts as damaged.

    Raises:
        DataError: the file has another kind, format or fingerprint, or another process writes it.
        LongMabError: the file cannot be opened or written.
    """

    def __init__(self, path: Path, kind: LogKind, fingerprint: str, keep: Callable[[Row, int], None]) -> None:
        self.path = path
        self.kind = kind
        self.fingerprint = fingerprint
        self.damaged: list[int] = []
        """Numbers of the damaged lines found when the file was opened, from 1."""
        self._end = 0
        self._fsync: FsyncThread | None = None
        self._file: IO[bytes] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: the rest of a failed write must not be written when the file is closed.
            self._file = path.open("a+b", buffering=0)
            self._lock()
            self._end = self._recover(keep)
            if self._end == 0 and kind.header:
                self._put(encode({"log": kind.name, "format": kind.format, "fingerprint": fingerprint}))
                os.fsync(self._file.fileno())
                fsync_dir(path.parent)
            if kind.durable:
                self._fsync = FsyncThread(self._file.fileno(), self._end)
        except OSError as error:
            self.close()
            raise self._failed(error) from error
        except BaseException:
            self.close()
            raise
        self._name_damaged()

    def _lock(self) -> None:
        """Refuse a second writer. The lock is released when the process ends, even by a kill."""
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LogInUse(f"{self.path} is being written by another process. {self.kind.busy}") from error
        except OSError:
            return  # the file system has no locks

    def _recover(self, keep: Callable[[Row, int], None]) -> int:
        """Pass the rows to `keep` and cut off an incomplete last line; return the length of complete lines in bytes."""
        end = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break  # a kill in the middle of a write
                row = decode(line)
                if number == 1 and self.kind.header:
                    self._check_header(line, row)
                else:
                    try:
                        if row is None:
                            raise ValueError("damaged")
                        keep(row, end)
                    except (ValueError, KeyError, TypeError):
                        self.damaged.append(number)
                end += len(line)
        assert self._file is not None
        os.ftruncate(self._file.fileno(), end)
        return end

    def _check_header(self, line: bytes, header: Row | None) -> None:
        name, format = self.kind.name, self.kind.format
        if header is None or header.get("log") != name:
            raise DataError(
                f"{self.path}, line 1: not the header of a {name} of format {format} (damaged on disk, or another "
                "version's file); move the file away"
            )
        if header["format"] != format:
            raise DataError(
                f"{self.path}, line 1: a {name} of format {header['format']}, this version writes {format}; finish it "
                "with the version that began it, or move the file away"
            )
        if header["fingerprint"] != self.fingerprint:
            raise DataError(
                f"{self.path} is a {name} of other settings, data or policy (fingerprint {header['fingerprint']}, this "
                f"one is {self.fingerprint}). Use another run folder, or move the file away."
            )

    def _name_damaged(self) -> None:
        if not self.damaged:
            return
        named = ", ".join(map(str, self.damaged[:_NAMED]))
        more = f" and {len(self.damaged) - _NAMED} more" if len(self.damaged) > _NAMED else ""
        line = "line" if len(self.damaged) == 1 else "lines"
        tell(f"{self.path}, {line} {named}{more}: damaged on disk; {self.kind.lost}")

    def read(self, place: int) -> Row | None:
        """Return the row at a place from `keep` or `write_one`, or None if it has become damaged.

        Raises:
            DataError: the log is closed.
            LongMabError: the file cannot be read.
        """
        if self._file is None:
            raise DataError(f"the {self.kind.name} {self.path} is closed")
        parts = []
        try:
            # Read at an explicit offset, because threads read and write at the same time.
            while block := os.pread(self._file.fileno(), 1 << 13, place):
                head, newline, _ = block.partition(b"\n")
                parts.append(head)
                place += len(block)
                if newline:
                    break
        except OSError as error:
            raise LongMabError(f"cannot read the {self.kind.name} {self.path}: {error.strerror}") from error
        return decode(b"".join(parts))

    def write(self, rows: Iterable[Row]) -> int:
        """Append rows to the file and start making them durable.

        Returns:
            A ticket for `is_durable` and `wait`.

        Raises:
            LongMabError: the disk is full or the file cannot be written; earlier lines are intact.
        """
        lines = b"".join(map(encode, rows))
        if lines:
            self._put(lines)
            if self._fsync is not None:
                self._fsync.wrote_to(self._end)
        return self._end

    def write_one(self, row: Row) -> int:
        """Append one row to the file and return its place; otherwise as `write`."""
        place = self._end
        self.write([row])
        return place

    def is_durable(self, ticket: int) -> bool:
        """Return whether the rows of a `write` are safe from a power cut (always True without `kind.durable`)."""
        return self._fsync is None or self._fsync.is_durable(ticket)

    def wait(self, ticket: int) -> None:
        """Wait until the rows of a `write` are durable.

        Raises:
            LongMabError: they could not be made durable.
        """
        if self._fsync is not None and not self._fsync.wait(ticket):
            assert self._fsync.error is not None
            raise self._failed(self._fsync.error) from self._fsync.error

    def _put(self, lines: bytes) -> None:
        if self._file is None:
            raise DataError(f"the {self.kind.name} {self.path} is closed")
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            # An incomplete line must not remain before the next one.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._end)
            raise self._failed(error) from error
        self._end += len(lines)

    def _failed(self, error: BaseException) -> LongMabError:
        cause = error if isinstance(error, OSError) else OSError(0, repr(error))
        return cannot_write(f"the {self.kind.name} {self.path}", cause, self.kind.then)

    def close(self) -> None:
        """Make all rows durable and close the file; safe to call twice."""
        if self._fsync is not None:
            self._fsync.close()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> AppendLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
