"""The journal: every finished completion is on disk before anything is decided from it.

A strategy is deterministic given its record, seed and completions, so replaying the journal brings a killed rollout
back to the exact request where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from longmab_pl.engine.protocol import Completion, Request
from longmab_pl.errors import DataError, LongMabError


class Journal:
    """Append-only JSON lines: one header line, then one line per completion, keyed by request id.

    Args:
        path: the file; its folder is made.
        fingerprint: identifies what is being rolled out (settings, data, policy). A file with another one is refused.

    Raises:
        DataError: the file belongs to another rollout or is not a journal.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.resumed = 0
        self._entries: dict[str, tuple[str, Completion]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > 0:
            self._recover()
        self._file: IO[bytes] | None = path.open("ab")
        if self._file.tell() == 0:
            self._write([json.dumps({"journal": 1, "fingerprint": fingerprint})])

    def _recover(self) -> None:
        raw = self.path.read_bytes()
        end = raw.rfind(b"\n") + 1
        if end < len(raw):
            # A kill in the middle of a write leaves a torn last line: cut it off, its completion is asked for again.
            with self.path.open("r+b") as f:
                f.truncate(end)
        lines = raw[:end].split(b"\n")[:-1]
        if not lines:
            return
        try:
            header = json.loads(lines[0])
            found = header["fingerprint"]
        except (ValueError, KeyError, TypeError) as e:
            raise DataError(f"{self.path}, line 1: not a rollout journal; move the file away") from e
        if found != self.fingerprint:
            raise DataError(
                f"{self.path} belongs to another rollout (fingerprint {found}, this one is {self.fingerprint}): "
                "settings, data or policy changed. Use another run folder, or move the file away."
            )
        for line in lines[1:]:
            try:
                row = json.loads(line)
                completion = Completion.from_json(row)
                self._entries[completion.request_id] = (row["prompt"], completion)
            except (ValueError, KeyError, TypeError):
                continue  # damaged on disk: that one completion is asked for again
        self.resumed = len(self._entries)

    def get(self, request: Request) -> Completion | None:
        """The journalled answer to exactly this request (same id, same prompt, same n), if there is one."""
        entry = self._entries.get(request.id)
        if entry is None or entry[0] != prompt_digest(request) or len(entry[1].texts) != request.n:
            return None
        return entry[1]

    def append(self, answered: Iterable[tuple[Request, Completion]]) -> None:
        """Write completions durably (one fsync for all of them).

        Raises:
            LongMabError: the disk is full or the file cannot be written; what was journalled before is intact.
        """
        lines = []
        for request, completion in answered:
            lines.append(json.dumps({"prompt": prompt_digest(request), **completion.to_json()}, ensure_ascii=False))
        if lines:
            self._write(lines)

    def _write(self, lines: list[str]) -> None:
        assert self._file is not None, "the journal is closed"
        try:
            self._file.write("".join(line + "\n" for line in lines).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as e:
            raise LongMabError(
                f"cannot write the rollout journal {self.path}: {e.strerror}. Free some space (or fix the permissions) "
                "and run the same command again: it continues after the last journalled completion."
            ) from e

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return len(self._entries)


def prompt_digest(request: Request) -> str:
    """Short digest of the prompt tokens: a journalled answer is used only for the prompt that it answered."""
    ids = ",".join(map(str, request.prompt_ids)).encode()
    return hashlib.blake2b(ids, digest_size=8).hexdigest()
