"""Multi-hop questions kept on disk, and passages of theirs as distractors for one another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from longmab_pl.data.multi_hop import MultiHopQuestion, Passage
from longmab_pl.data.titles import normalize_title
from longmab_pl.errors import DataError
from longmab_pl.seeding import derive_seed
from longmab_pl.storage.append_log import AppendLog, LogKind

QUESTIONS = LogKind("store of questions", 1, "run the same command again", header=False)


class QuestionStore:
    """The usable questions of a source, kept in a file.

    Args:
        path: the file; an earlier one is deleted.
    """

    def __init__(self, path: Path) -> None:
        self._places: dict[str, int] = {}
        self._titles: dict[str, set[str]] = {}
        path.unlink(missing_ok=True)
        self._log = AppendLog(path, QUESTIONS, "", lambda row, place: None)

    def add(self, question: MultiHopQuestion) -> None:
        """Store a question."""
        self._places[question.id] = self._log.write_one(question.to_json())
        for passage in (*question.support, *question.distractors):
            self._titles.setdefault(normalize_title(passage.title), set()).add(passage.title)

    def titles(self) -> Mapping[str, Collection[str]]:
        """Return the normalized titles of all passages, each with its spellings."""
        return self._titles

    def ids(self, seed: int) -> list[str]:
        """Return the ids in an order that depends on the seed and the ids alone."""
        return sorted(self._places, key=lambda id: (derive_seed(seed, id, "order"), id))

    def get(self, id: str) -> MultiHopQuestion:
        """Return a question by its id."""
        row = self._log.read(self._places[id])
        if row is None:
            raise DataError(f"{self._log.path}: damaged on disk; {QUESTIONS.lost}")
        return MultiHopQuestion.from_json(row)

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> QuestionStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()


class PassagePool:
    """Passages of all records, one for each title. Of more than `size` titles, those with the smallest hashes are kept.

    Args:
        size: most passages.
        seed: seed of the hashes.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._kept: dict[str, tuple[int, int, str]] = {}  # key -> hash of the key, hash of the text, text

    def add(self, passage: Passage) -> None:
        """Add a passage; an empty one is ignored. Which are kept does not depend on the order."""
        if not passage.text.strip():
            return
        text = shown_text(passage)
        entry = derive_seed(self._seed, passage.key), derive_seed(self._seed, text), text
        self._kept[passage.key] = min(entry, self._kept.get(passage.key, entry))
        if len(self._kept) >= 2 * self._size:
            self._trim()

    def _trim(self) -> None:
        order = sorted(self._kept, key=lambda key: (self._kept[key][0], key))
        self._kept = {key: self._kept[key] for key in order[: self._size]}

    def keys(self) -> Sequence[str]:
        """Return the kept keys, sorted."""
        if len(self._kept) > self._size:
            self._trim()
        return sorted(self._kept)

    def text(self, key: str) -> str:
        """Return what a context shows of a passage."""
        return self._kept[key][2]


def shown_text(passage: Passage) -> str:
    """Return what a context shows of a record's own passage: its title and its text."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text
