"""The journal: every finished completion is on disk before a strategy uses it.

A strategy is deterministic given its record, seed and completions, so replaying the journal returns a killed rollout
to the exact request where it stopped.
"""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.errors import DataError
from longmab_pl.storage.append_log import AppendLog, LogInUse, LogKind, Row, decode, read_fingerprint, read_rows

JOURNAL = LogKind(
    name="rollout journal",
    format=3,  # 3: a checksum in every line
    lost="its completion is asked for again",
    then="run the same command again: it continues after the last journalled completion",
    busy="This rollout is running already. Wait for it, stop it, or use another run folder.",
    durable=True,
)

_BATCH = 256
"""Number of completions that are copied at once from another process's journal."""

_ENDING_SECONDS = 10.0
"""Seconds for which a worker that is being killed may still hold its journal."""


class CompletionIndex:
    """The completions of one journal file by request id: 16 bytes each, a digest of the id and the line's offset.

    Args:
        keys: digest of each completion's request id, in the file's order.
        places: offset of each completion's line, in bytes.
        read: returns the row at an offset; None if it has become damaged.
    """

    def __init__(self, keys: array[int], places: array[int], read: Callable[[int], Row | None]) -> None:
        self._read = read
        found = np.frombuffer(keys, np.uint64) if keys else np.empty(0, np.uint64)
        order = np.argsort(found, kind="stable")
        self._keys = found[order]  # [completions], id digests in ascending order
        # [completions], byte offset of each one's line
        self._places = (np.frombuffer(places, np.uint64) if places else np.empty(0, np.uint64))[order]

    def __len__(self) -> int:
        return len(np.unique(self._keys))

    def rows(self, request_id: str) -> Iterator[Row]:
        """Yield the rows of a request id, the newest first: an id is written again if its old answer belonged to
        another prompt."""
        key = np.uint64(_key(request_id))
        last = int(np.searchsorted(self._keys, key, side="right"))
        for i in range(last - 1, -1, -1):
            if self._keys[i] != key:
                return
            row = self._read(int(self._places[i]))
            if row is not None and row["request_id"] == request_id:
                yield row

    def get(self, request: Request) -> Completion | None:
        """Return the answer to exactly this request: same id, same prompt, same n."""
        prompt = prompt_digest(request)
        for row in self.rows(request.id):
            if row["prompt"] == prompt and len(row["texts"]) == request.n:
                return Completion.from_json(row)
        return None


def read_completions(path: Path, fingerprint: str) -> CompletionIndex:
    """Return the completions of a journal that another process has written or still writes; damaged lines are left out.

    Args:
        path: the file.
        fingerprint: fingerprint of the rollout.

    Raises:
        DataError: there is no such journal, or it belongs to another rollout.
    """
    if read_fingerprint(path, JOURNAL) != fingerprint:
        raise DataError(f"{path} is not there, or is not a journal of this rollout (fingerprint {fingerprint})")

    def read(place: int) -> Row | None:
        with path.open("rb") as file:
            file.seek(place)
            return decode(file.readline())

    keys, places = array("Q"), array("Q")
    for row, place in whole_rows(path):
        keys.append(_key(row["request_id"]))
        places.append(place)
    return CompletionIndex(keys, places, read)


def whole_rows(path: Path) -> Iterator[tuple[Row, int]]:
    """Yield the undamaged completions of a journal as rows, each with its offset in bytes."""
    for _, place, row in read_rows(path):
        if row is not None:
            try:
                _completion(row)
            except (KeyError, TypeError):
                continue
            yield row, place


class Journal:
    """An append-only log with one line per completion, keyed by request id.

    Memory use is 16 bytes per completion that the file held when it was opened (a digest of the request's id and the
    line's offset); texts are read from the file when they are needed.

    `write` returns once the lines are in the file, where they survive the end of the process. A thread then calls fsync
    (some ms, for all lines written by then), after which they survive a power failure; `wait` returns after that.

    Args:
        path: the file; its folder is created.
        fingerprint: identifies what is being rolled out (settings, data, policy). A file with another one is refused.

    Raises:
        DataError: the file belongs to another rollout, is not a journal, or is being written by another process.
        LongMabError: the file cannot be opened or written.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        keys, places = array("Q"), array("Q")

        def keep(row: Row, place: int) -> None:
            _completion(row)
            keys.append(_key(row["request_id"]))
            places.append(place)

        self._log = AppendLog(path, JOURNAL, fingerprint, keep)
        self._known = [CompletionIndex(keys, places, self._log.read)]
        self.resumed = len(self._known[0])
        """Number of completions that the file held when it was opened."""

    def get(self, request: Request) -> Completion | None:
        """Return the answer to exactly this request (same id, same prompt, same n) that the file held when it was
        opened, or another process's file that is read too."""
        for known in self._known:
            if (completion := known.get(request)) is not None:
                return completion
        return None

    def read_too(self, path: Path) -> None:
        """Take answers also from the journal of another process of the same rollout, as it is now.

        Raises:
            DataError: there is no such journal, or it belongs to another rollout.
        """
        self._known.append(read_completions(path, self.fingerprint))

    def take_over(self, path: Path) -> None:
        """Write the completions of another process's journal into this one, except those that it held when it was
        opened, and remove that file. Its process must have ended.

        Raises:
            DataError: it belongs to another rollout, or is still being written.
            LongMabError: the disk is full or a file cannot be written; nothing is lost.
        """
        with _ended_log(path, self.fingerprint):  # its lock; a torn line is cut off
            new = (row for row, _ in whole_rows(path) if not self._holds(row))
            while rows := list(islice(new, _BATCH)):
                self._log.wait(self._log.write(rows))
        path.unlink()

    def _holds(self, row: Row) -> bool:
        return any(same["prompt"] == row["prompt"] for same in self._known[0].rows(row["request_id"]))

    def append(self, answered: Iterable[tuple[Request, Completion]]) -> None:
        """Write completions and wait until they survive a power failure: `write`, then `wait`.

        Raises:
            LongMabError: as for `write`.
        """
        self.wait(self.write(answered))

    def write(self, answered: Iterable[tuple[Request, Completion]]) -> int:
        """Write completions to the file and start the fsync.

        Returns:
            a ticket for `is_durable` and `wait`.

        Raises:
            LongMabError: the disk is full or the file cannot be written; earlier completions are intact.
        """
        return self._log.write(
            {"prompt": prompt_digest(request), **completion.to_json()} for request, completion in answered
        )

    def is_durable(self, ticket: int) -> bool:
        """Return whether the completions of that `write` survive a power failure."""
        return self._log.is_durable(ticket)

    def wait(self, ticket: int) -> None:
        """Wait until the completions of that `write` survive a power failure.

        Raises:
            LongMabError: the fsync failed.
        """
        self._log.wait(ticket)

    def close(self) -> None:
        """Finish the fsync and close the file; safe to call twice."""
        self._log.close()

    def __len__(self) -> int:
        return self.resumed


def prompt_digest(request: Request) -> str:
    """Return a short digest of the prompt tokens and the schema: an answer in the journal is used only for its own
    prompt."""
    digest = hashlib.blake2b(array("I", request.prompt_ids).tobytes(), digest_size=8)
    digest.update((request.schema or "").encode())
    return digest.hexdigest()


def _ended_log(path: Path, fingerprint: str) -> AppendLog:
    """Return the log of a worker that has ended or is about to: one that is killed may take a moment."""
    until = time.monotonic() + _ENDING_SECONDS
    while True:
        try:
            return AppendLog(path, JOURNAL, fingerprint, lambda row, place: None)
        except LogInUse:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def opened_journal(path: Path, fingerprint: str, others: Sequence[Path]) -> Journal:
    """Return a rollout's journal, with the completions of the journals that workers left behind taken over.

    Args:
        path: the rollout's journal.
        fingerprint: fingerprint of the rollout.
        others: journals of workers.

    Raises:
        DataError, LongMabError: as for `Journal` and `Journal.take_over`.
    """
    journal = Journal(path, fingerprint)
    if not others:
        return journal
    try:
        for other in others:
            journal.take_over(other)
    finally:
        journal.close()
    return Journal(path, fingerprint)


def _key(request_id: str) -> int:
    """Return 64 bits for a request id; a line of another id with the same bits is detected when it is read."""
    return int.from_bytes(hashlib.blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _completion(row: Row) -> Completion:
    """Return the completion in a line of the journal.

    Raises:
        KeyError, TypeError: the line holds no completion.
    """
    if not isinstance(row["prompt"], str) or not isinstance(row["request_id"], str):
        raise TypeError("not a completion")
    return Completion.from_json(row)
