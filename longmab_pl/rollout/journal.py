"""The journal: every finished completion is on disk before a strategy uses it.

A strategy is deterministic given its record, seed and completions, so replaying the journal returns a killed rollout
to the exact request where it stopped.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.storage.append_log import AppendLog, LogKind, Row

JOURNAL = LogKind(
    name="rollout journal",
    format=3,  # 3: a checksum in every line
    lost="its completion is asked for again",
    then="run the same command again: it continues after the last journalled completion",
    busy="This rollout is running already. Wait for it, stop it, or use another run folder.",
    durable=True,
)


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
        found = np.frombuffer(keys, np.uint64) if keys else np.empty(0, np.uint64)
        order = np.argsort(found, kind="stable")
        self._keys = found[order]  # [completions], id digests in ascending order
        # [completions], byte offset of each one's line
        self._places = (np.frombuffer(places, np.uint64) if places else np.empty(0, np.uint64))[order]
        self.resumed = len(np.unique(self._keys))
        """Number of completions that the file held when it was opened."""

    def get(self, request: Request) -> Completion | None:
        """Return the answer to exactly this request (same id, same prompt, same n) that the file held when it was
        opened."""
        key = np.uint64(_key(request.id))
        last = int(np.searchsorted(self._keys, key, side="right"))
        # Newest first: an id is written again if its old answer belonged to another prompt.
        for i in range(last - 1, -1, -1):
            if self._keys[i] != key:
                return None
            row = self._log.read(int(self._places[i]))
            if row is not None and row["request_id"] == request.id and row["prompt"] == prompt_digest(request):
                completion = Completion.from_json(row)
                if len(completion.texts) == request.n:
                    return completion
        return None

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
