"""Append-only JSON lines: the only writer of files that grow while a run works.

Every line is a JSON object whose last field is a checksum of the bytes before it, so a damaged line is never believed:

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
"""Damaged lines that a message names one by one."""


@dataclass(frozen=True)
class LogKind:
    """What a log is.

    Args:
        name: for its header and for messages, such as `rollout journal`.
        format: stands in the header; raised whenever the lines change so that an older file must not be continued.
        lost: what a damaged line costs, for the message, such as `its completion is asked for again`.
        then: how to go on when the disk is full, for the message.
        busy: what it means that another process writes the file, for the message.
        durable: make lines safe from a power cut by a thread of their own (`write`, `is_durable`, `wait`).
        header: begin the file with a header line; without one the fingerprint is kept elsewhere.
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
    """Return a line's row without its checksum, or None for a line that is damaged."""
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
    """Yield the lines of a log that is not written now, or of which only what is whole counts: line number from 1,
    offset in bytes, and the row (None: damaged). The header is left out, and so is a last line without its end.

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
    """Return the fingerprint in a log's header; None without the file, or without such a header."""
    try:
        with path.open("rb") as lines:
            header = decode(lines.readline())
    except (FileNotFoundError, NotADirectoryError):
        return None
    if header is None or header.get("log") != kind.name or header.get("format") != kind.format:
        return None
    return str(header["fingerprint"])


class AppendLog:
    """A log that is continued if it is there: locked, its torn last line cut off, its damaged lines named on stderr.

    `write` returns once the lines are in the file, which outlives the process. With `kind.durable` a thread makes them
    outlive a power cut (fsync, some ms), and `wait` returns when it has.

    Args:
        path: the file; its folder is made.
        kind: what it is.
        fingerprint: identifies what the log belongs to; a file with another one is refused.
        keep: called with every whole row that the file holds and its place, for `read`. A row on which it raises
            KeyError, TypeError or ValueError counts as damaged.

    Raises:
        DataError: the file is another kind's, another format's or another fingerprint's, or another process writes it.
        LongMabError: the file cannot be opened or written.
    """

    def __init__(self, path: Path, kind: LogKind, fingerprint: str, keep: Callable[[Row, int], None]) -> None:
        self.path = path
        self.kind = kind
        self.fingerprint = fingerprint
        self.damaged: list[int] = []
        """Numbers of the lines that were damaged when the file was opened."""
        self._end = 0
        self._fsync: FsyncThread | None = None
        self._file: IO[bytes] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what a failed write left behind must not be tried again when the file is closed.
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
        """Refuse a second writer. The lock ends with the process, however it ends."""
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{self.path} is being written by another process. {self.kind.busy}") from error
        except OSError:
            return  # a file system without locks

    def _recover(self, keep: Callable[[Row, int], None]) -> int:
        """Hand out what the file holds and cut a torn last line off; return the length of what is whole, in bytes."""
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
        """Return the row at a place that `keep` was given or `write_one` returned, or None if it is damaged by now.

        Raises:
            DataError: the log is closed.
            LongMabError: the file cannot be read.
        """
        if self._file is None:
            raise DataError(f"the {self.kind.name} {self.path} is closed")
        parts = []
        try:
            # By place and not by position: threads read and write at the same time.
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
        """Put rows into the file and begin to make them durable.

        Returns:
            a ticket for `is_durable` and `wait`.

        Raises:
            LongMabError: the disk is full or the file cannot be written; what was written before is intact.
        """
        lines = b"".join(map(encode, rows))
        if lines:
            self._put(lines)
            if self._fsync is not None:
                self._fsync.wrote_to(self._end)
        return self._end

    def write_one(self, row: Row) -> int:
        """Put one row into the file and return its place; otherwise as `write`."""
        place = self._end
        self.write([row])
        return place

    def is_durable(self, ticket: int) -> bool:
        """Return whether the rows of that `write` are safe from a power cut (always without `kind.durable`)."""
        return self._fsync is None or self._fsync.is_durable(ticket)

    def wait(self, ticket: int) -> None:
        """Return when they are.

        Raises:
            LongMabError: they could not be made so.
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
            # Half a line must not stay in front of what may be written next.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._end)
            raise self._failed(error) from error
        self._end += len(lines)

    def _failed(self, error: BaseException) -> LongMabError:
        cause = error if isinstance(error, OSError) else OSError(0, repr(error))
        return cannot_write(f"the {self.kind.name} {self.path}", cause, self.kind.then)

    def close(self) -> None:
        """Make durable what was written, and close the file; safe to call twice."""
        if self._fsync is not None:
            self._fsync.close()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> AppendLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
