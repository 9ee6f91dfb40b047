"""The rollout log: finished records on disk, read in any order, which keeps a round's memory bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from longmab_pl.errors import DataError
from longmab_pl.shown import quoted
from longmab_pl.storage.append_log import AppendLog, LogKind, Row, decode, read_rows
from longmab_pl.strategies.base import RecordRollout

ROLLOUT_LOG = LogKind(
    name="rollout log",
    format=2,  # 2: a header, and a checksum in every line
    lost="its record is rolled out again from the journal",
)


class RolloutLog:
    """Rollouts of finished records in one file, in the order they finish; only their offsets are in memory.

    A line is passed to the operating system as soon as its record is finished, so it survives the process. A line that
    is lost, torn or damaged by a power failure is made again: the journal still has that record's completions.

    Args:
        path: the file, continued if it exists.
        fingerprint: fingerprint of the round.

    Raises:
        DataError: the file is another round's, or another process is writing it.
        LongMabError: the file cannot be written.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self._places: dict[str, int] = {}

        def keep(row: Row, place: int) -> None:
            self._places[RecordRollout.from_json(row).record_id] = place

        self._log = AppendLog(path, ROLLOUT_LOG, fingerprint, keep)

    def add(self, rollout: RecordRollout) -> None:
        """Write one finished record.

        Raises:
            LongMabError: the disk is full or the file cannot be written; the run can be continued.
        """
        self._places[rollout.record_id] = self._log.write_one(rollout.to_json())

    def read(self, record_id: str) -> RecordRollout:
        """Return the rollout of a finished record.

        Raises:
            DataError: its line has been damaged since the file was opened.
        """
        row = self._log.read(self._places[record_id])
        if row is None:
            raise DataError(
                f"{self.path}: the line of record {quoted(record_id)} is damaged on disk; run the same command again: "
                f"{ROLLOUT_LOG.lost}"
            )
        return RecordRollout.from_json(row)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        self._log.close()

    def __enter__(self) -> RolloutLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RolloutFile:
    """The rollouts in an existing file: a finished round's `rollouts.jsonl`, or a log that is being written.

    Args:
        path: the file.

    Attributes:
        damaged: numbers of the damaged lines; their records cannot be read.

    Raises:
        FileNotFoundError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged: list[int] = []
        self._places: dict[str, tuple[int, int]] = {}  # line number and offset
        for number, place, row in read_rows(path):
            try:
                if row is None:
                    raise TypeError("damaged")
                self._places[RecordRollout.from_json(row).record_id] = (number, place)
            except (KeyError, TypeError):
                self.damaged.append(number)

    def read(self, record_id: str) -> RecordRollout:
        """Return the rollout of a finished record.

        Raises:
            DataError: its line has been damaged since the file was opened.
        """
        number, place = self._places[record_id]
        with self.path.open("rb") as file:
            file.seek(place)
            row = decode(file.readline())
        if row is None:
            raise DataError(f"{self.path}, line {number}: damaged on disk")
        return RecordRollout.from_json(row)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
