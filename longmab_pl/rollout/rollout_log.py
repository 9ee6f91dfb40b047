"""Finished records on disk in the order they finish, read back in any order: what keeps a round's memory bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from longmab_pl.errors import LongMabError
from longmab_pl.strategies.base import RecordRollout, Response


def rollout_to_row(rollout: RecordRollout) -> dict[str, Any]:
    """One record's rollout as JSON values, texts included: a line of `rollouts.jsonl`."""
    return asdict(rollout)


def rollout_from_row(row: dict[str, Any]) -> RecordRollout:
    """The inverse of `rollout_to_row`; fields that are not known here are left alone.

    Raises:
        KeyError, TypeError: it is not such a row.
    """
    responses = tuple(Response(**_known(Response, response)) for response in row["responses"])
    return RecordRollout(**{**_known(RecordRollout, row), "responses": responses})


def _known(kind: type, row: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items() if k in names}


class RolloutLog:
    """Rollouts of finished records in one file; in memory is only where each of them stands.

    A line is handed to the operating system as soon as its record is finished, so it outlives the process. After a
    power failure a lost or torn line costs nothing but time: the journal still has that record's completions.

    Args:
        path: the file, continued if it is there.
        read_only: look at a file as it is, also one that another process is writing, or a round's `rollouts.jsonl`.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("rb" if read_only else "a+b")
        self._end = 0
        self._file.seek(0)
        for line in self._file:
            record_id = _whole_record(line)
            if record_id is None:
                break
            self._places[record_id] = (self._end, len(line))
            self._end += len(line)
        if not read_only:
            self._file.truncate(self._end)

    def add(self, rollout: RecordRollout) -> None:
        """Write one finished record.

        Raises:
            LongMabError: the disk is full or the file cannot be written; the run can be continued.
        """
        line = (json.dumps(rollout_to_row(rollout), ensure_ascii=True) + "\n").encode()
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise LongMabError(
                f"cannot write {self.path}: {error.strerror}. Free some space (or fix the permissions) and run the "
                "same command again: it continues where it stopped."
            ) from error
        self._places[rollout.record_id] = (self._end, len(line))
        self._end += len(line)

    def read(self, record_id: str) -> RecordRollout:
        """The rollout of a finished record."""
        start, length = self._places[record_id]
        self._file.seek(start)
        return rollout_from_row(json.loads(self._file.read(length)))

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> RolloutLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _whole_record(line: bytes) -> str | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return rollout_from_row(json.loads(line)).record_id
    except (ValueError, KeyError, TypeError):
        return None
