"""The journal: every finished completion is on disk before anything is decided from it.

A strategy is deterministic given its record, seed and completions, so replaying the journal brings a killed rollout
back to the exact request where it stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.errors import DataError, LongMabError
from longmab_pl.storage.files import fsync_dir

FORMAT = 2
"""Of the file; it stands in the header line. 2: prompt digests of the ids as 32-bit integers (1: as decimal text)."""


class Journal:
    """Append-only JSON lines: one header line, then one line per completion, keyed by request id.

    In memory there are 16 bytes per completion that the file held when it was opened (a digest of the request's id and
    its line's place); texts are read back from the file when they are asked for.

    `write` returns once the lines are in the file, which outlives the process; a thread makes them outlive a power cut
    (fsync, some ms), all that have come together by then at once, and `wait` returns when it has.

    Args:
        path: the file; its folder is made.
        fingerprint: identifies what is being rolled out (settings, data, policy). A file with another one is refused.

    Raises:
        DataError: the file belongs to another rollout, is not a journal, or another process is writing it.
        LongMabError: the file cannot be opened or written.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.resumed = 0
        """Completions that the file held when it was opened."""
        self._keys = np.empty(0, np.uint64)  # [resumed], id digests in ascending order
        self._places = np.empty(0, np.uint64)  # [resumed], byte offset of each one's line
        self._changed = threading.Condition()
        self._end = self._durable = 0  # bytes written, and bytes that are safe from a power cut
        self._error: BaseException | None = None  # why the thread gave up
        self._closing = False
        self._thread: threading.Thread | None = None
        self._file: IO[bytes] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what a failed write left behind must not be tried again when the file is closed.
            self._file = path.open("a+b", buffering=0)
            self._lock()
            self._end = self._recover()
            if self._end == 0:
                self._put(json.dumps({"journal": FORMAT, "fingerprint": fingerprint}).encode() + b"\n")
                os.fsync(self._file.fileno())
                fsync_dir(self.path.parent)
            self._durable = self._end
        except OSError as e:
            self.close()
            raise self._failed(e) from e
        except LongMabError:
            self.close()
            raise

    def _lock(self) -> None:
        """Two processes in one journal would ask everything twice. The lock ends with the process, however it ends."""
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise DataError(
                f"{self.path} is being written by another process: this rollout is running already. Wait for it, stop "
                "it, or use another run folder."
            ) from e
        except OSError:
            return  # a file system without locks

    def _recover(self) -> int:
        """Index what the file holds and cut a torn last line off; returns the length of what is whole, in bytes."""
        keys, places = array("Q"), array("Q")
        end = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break  # a kill in the middle of a write: its completion is asked for again
                if number == 1:
                    self._check_header(line)
                else:
                    row = _parsed(line)
                    if row is not None:
                        keys.append(_key(row["request_id"]))
                        places.append(end)
                end += len(line)
        assert self._file is not None
        os.ftruncate(self._file.fileno(), end)
        found = np.frombuffer(keys, np.uint64) if keys else self._keys
        order = np.argsort(found, kind="stable")
        self._keys, self._places = found[order], (np.frombuffer(places, np.uint64) if places else self._places)[order]
        self.resumed = len(np.unique(self._keys))
        return end

    def _check_header(self, line: bytes) -> None:
        try:
            header = json.loads(line)
            version, found = header["journal"], header["fingerprint"]
        except (ValueError, KeyError, TypeError) as e:
            raise DataError(f"{self.path}, line 1: not a rollout journal; move the file away") from e
        if version != FORMAT:
            raise DataError(
                f"{self.path}, line 1: a journal of format {version}, this version writes {FORMAT}; finish it with the "
                "version that began it, or move the file away"
            )
        if found != self.fingerprint:
            raise DataError(
                f"{self.path} belongs to another rollout (fingerprint {found}, this one is {self.fingerprint}): "
                "settings, data or policy changed. Use another run folder, or move the file away."
            )

    def get(self, request: Request) -> Completion | None:
        """The answer to exactly this request (same id, same prompt, same n) that the file held when it was opened."""
        key = np.uint64(_key(request.id))
        last = int(np.searchsorted(self._keys, key, side="right"))
        # Newest first: an id is journalled again when its old answer belonged to another prompt.
        for i in range(last - 1, -1, -1):
            if self._keys[i] != key:
                return None
            row = self._row(int(self._places[i]))
            if row is not None and row["request_id"] == request.id and row["prompt"] == prompt_digest(request):
                completion = Completion.from_json(row)
                if len(completion.texts) == request.n:
                    return completion
        return None

    def _row(self, place: int) -> dict[str, Any] | None:
        if self._file is None:
            raise DataError(f"the journal {self.path} is closed")
        parts = []
        try:
            # By place and not by position: the scheduler's threads read and write at the same time.
            while block := os.pread(self._file.fileno(), 1 << 13, place):
                head, newline, _ = block.partition(b"\n")
                parts.append(head)
                place += len(block)
                if newline:
                    break
        except OSError as e:
            raise self._failed(e) from e
        return _parsed(b"".join(parts))

    def append(self, answered: Iterable[tuple[Request, Completion]]) -> None:
        """Write completions durably; `write` and `wait` in one.

        Raises:
            LongMabError: as `write`.
        """
        self.wait(self.write(answered))

    def write(self, answered: Iterable[tuple[Request, Completion]]) -> int:
        """Put completions into the file and begin to make them durable.

        Returns:
            a ticket for `is_durable` and `wait`.

        Raises:
            LongMabError: the disk is full or the file cannot be written; what was journalled before is intact.
        """
        lines = bytearray()
        for request, completion in answered:
            row = {"prompt": prompt_digest(request), **completion.to_json()}
            lines += json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        self._put(bytes(lines))
        if self._thread is None and lines:
            self._thread = threading.Thread(target=self._keep_durable, name="journal", daemon=True)
            self._thread.start()
        return self._end

    def is_durable(self, ticket: int) -> bool:
        """Whether the completions of that `write` are safe from a power cut."""
        return self._durable >= ticket

    def wait(self, ticket: int) -> None:
        """Return when they are.

        Raises:
            LongMabError: they could not be made so.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._durable >= ticket or self._error is not None)
        if self._error is not None:
            raise self._failed(self._error) from self._error

    def _put(self, lines: bytes) -> None:
        if self._file is None:
            raise DataError(f"the journal {self.path} is closed")
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as e:
            # Half a line must not stay in front of what may be written next.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._end)
            raise self._failed(e) from e
        with self._changed:
            self._end += len(lines)
            self._changed.notify_all()

    def _keep_durable(self) -> None:
        """The thread's work, until the journal is closed."""
        assert self._file is not None
        descriptor = self._file.fileno()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._durable < self._end)
                if self._durable == self._end:
                    return
                end = self._end
            try:
                os.fsync(descriptor)
            except BaseException as e:  # whatever it is, nobody may wait for this thread for ever
                with self._changed:
                    self._error = e
                    self._changed.notify_all()
                return
            with self._changed:
                self._durable = end
                self._changed.notify_all()

    def _failed(self, error: BaseException) -> LongMabError:
        reason = error.strerror if isinstance(error, OSError) else repr(error)
        return LongMabError(
            f"cannot write the rollout journal {self.path}: {reason}. Free some space (or fix the permissions) "
            "and run the same command again: it continues after the last journalled completion."
        )

    def close(self) -> None:
        """Make durable what was written, and close the file; safe to call twice."""
        if self._thread is not None:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join()
            self._thread = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return self.resumed


def prompt_digest(request: Request) -> str:
    """Short digest of the prompt tokens: a journalled answer is used only for the prompt that it answered."""
    return hashlib.blake2b(array("I", request.prompt_ids).tobytes(), digest_size=8).hexdigest()


def _key(request_id: str) -> int:
    """64 bits that stand for a request id; a line that only collides with it is told apart when it is read."""
    return int.from_bytes(hashlib.blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The line's row, or None where the disk has damaged it: that one completion is asked for again."""
    try:
        row: dict[str, Any] = json.loads(line)
        Completion.from_json(row)
        return row if isinstance(row["prompt"], str) and isinstance(row["request_id"], str) else None
    except (ValueError, KeyError, TypeError):
        return None
