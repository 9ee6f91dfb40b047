"""Access to single pairs of a round's file, and to all of their rewards, without parsing every document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.rollout.round_folder import RoundFolder

# A quote inside a JSON string is written \" and so none of these can match within a text.
_ID = re.compile(rb'^\{"id": ("(?:[^"\\]|\\.)*")')
_REWARDS = re.compile(rb'[{ ]"chosen_reward": (-?[\d.eE+-]+), "rejected_reward": (-?[\d.eE+-]+)')


@dataclass(frozen=True)
class PairEntry:
    """A pair's record, its rewards, and where its row is in the file."""

    record_id: str
    chosen_reward: float
    rejected_reward: float
    place: int


class PairIndex:
    """The pairs of one round.

    Args:
        store: the round's folder; a round that is not finished has no pairs.

    Attributes:
        entries: the pairs in the file's order; rows that cannot be read are left out.
    """

    def __init__(self, store: RoundFolder) -> None:
        self._path = store.pairs
        self._parquet = store.format == "parquet"
        self.entries: Sequence[PairEntry] = ()
        if self._path.is_file():
            self.entries = _of_parquet(self._path) if self._parquet else _of_lines(self._path)

    def read(self, entry: PairEntry) -> Mapping[str, Any]:
        """Return a pair's row; empty if the file has changed."""
        if self._parquet:
            import pyarrow.dataset

            (row,) = pyarrow.dataset.dataset(self._path).take([entry.place]).to_pylist()
            return dict(row)
        with self._path.open("rb") as file:
            file.seek(entry.place)
            try:
                row = json.loads(file.readline())
            except ValueError:
                return {}
        return row if isinstance(row, dict) else {}


def _of_lines(path: Path) -> list[PairEntry]:
    entries, place = [], 0
    with path.open("rb") as lines:
        for line in lines:
            name, rewards = _ID.match(line), _REWARDS.search(line)
            if name and rewards:
                chosen, rejected = map(float, rewards.groups())
                entries.append(PairEntry(json.loads(name[1]), chosen, rejected, place))
            place += len(line)
    return entries


def _of_parquet(path: Path) -> list[PairEntry]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, columns=["id", "chosen_reward", "rejected_reward"])
    ids, chosen, rejected = (table[name].to_pylist() for name in table.column_names)
    return [PairEntry(*row) for row in zip(ids, chosen, rejected, range(len(ids)), strict=True)]
