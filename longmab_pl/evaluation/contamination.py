"""Contamination: evaluation questions or contexts that occur in the training records."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from longmab_pl.checks import unit_interval
from longmab_pl.data.records import QARecord
from longmab_pl.shown import quoted, shown

SHINGLE = 13
"""Length of a shingle in words: the n-gram length of the GPT-3 contamination study (arXiv 2005.14165, appendix C)."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")  # scripts without spaces: every character is a word
_BASE = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Overlap:
    """One evaluation record that occurs in the training records.

    Args:
        task: the evaluation task.
        record: the evaluation record's id.
        kind: the part that was found.
        training_record: id of a training record that has it (for shingles: the one with most of them).
        share: share of the question or context that was found, in 0..1.
    """

    task: str
    record: str
    kind: Literal["question", "context"]
    training_record: str
    share: float

    def __str__(self) -> str:
        how = "" if self.share == 1 else f"{self.share:.0%} of "
        found = f"{how}its {self.kind} is in training record {quoted(self.training_record)}"
        return f"{shown(self.task)} {quoted(self.record)}: {found}"


@dataclass(frozen=True)
class Contamination:
    """The evaluation records that occur in the training records; false when there are none.

    Args:
        overlaps: the records found, in the order of the evaluation records, questions first.
        checked: number of evaluation records that were checked.
    """

    overlaps: tuple[Overlap, ...]
    checked: int

    def __bool__(self) -> bool:
        return bool(self.overlaps)

    def count(self, kind: Literal["question", "context"]) -> int:
        """Return the number of evaluation records whose question or context was found."""
        return sum(overlap.kind == kind for overlap in self.overlaps)

    def message(self, examples: int = 3) -> str:
        """Return a message with counts, what to do, and the first examples."""
        found = [f"the {kind} of {self.count(kind)}" for kind in ("question", "context") if self.count(kind)]  # type: ignore[arg-type]
        head = (
            f"contamination: of {self.checked} evaluation records {' and '.join(found)} also occur in the training "
            "records, so their scores may show memory; leave them out of one of the two"
        )
        return "\n".join([head, *(f"  {overlap}" for overlap in self.overlaps[:examples])])


def find_contamination(
    training: Iterable[QARecord], evaluation: Mapping[str, Sequence[QARecord]], threshold: float = 0.5
) -> Contamination:
    """Return the evaluation questions and contexts that occur in the training records.

    A question counts when it is the same up to case, punctuation and spacing; a context when it is the same in that
    sense, or when at least `threshold` of its distinct 13-word shingles occur in the training contexts, all of them
    together: a context may consist of parts of several. Texts without a word never count. It takes one pass over all
    words; memory is 12 bytes for every distinct shingle of the evaluation contexts.

    Args:
        training: the training records; repeated contexts take no further time.
        evaluation: task name to records.
        threshold: least share of a context's shingles, in (0, 1].

    Raises:
        ConfigError: `threshold` is out of range.
    """
    unit_interval("the contamination threshold", threshold, zero=False)
    contexts = _Contexts({record.context for records in evaluation.values() for record in records})
    questions: dict[str, str] = {}
    asked = {normalized(record.question) for records in evaluation.values() for record in records} - {""}
    for record in training:
        question = normalized(record.question)
        if question in asked:
            questions.setdefault(question, record.id)
        contexts.see(record)
    of_questions, of_contexts = [], []
    for task, records in evaluation.items():
        for record in records:
            source = questions.get(normalized(record.question))
            if source is not None:
                of_questions.append(Overlap(task, record.id, "question", source, 1.0))
            share, source = contexts.seen(record.context)
            if source is not None and share >= threshold:
                of_contexts.append(Overlap(task, record.id, "context", source, share))
    return Contamination((*of_questions, *of_contexts), sum(map(len, evaluation.values())))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation; in Chinese, Japanese and Korean its characters."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normalized(text: str) -> str:
    """Return the text without case, punctuation and spacing."""
    return " ".join(words(text))


class _Contexts:
    """The evaluation contexts as one sorted array of shingles, and where in training each shingle was first seen."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._digests: dict[str, str] = {}
        shingled: dict[str, Hashes] = {}
        for text in texts:
            listed = words(text)
            self._digests[text] = _digest(listed)
            shingled[text] = shingles(listed)
        self._known: Hashes = np.unique(np.concatenate([np.empty(0, np.uint64), *shingled.values()]))
        self._places = {text: np.searchsorted(self._known, found) for text, found in shingled.items()}
        self._source: NDArray[Any] = np.full(len(self._known), -1, np.int32)
        self._ids: list[str] = []
        self._whole: dict[str, str] = {}
        self._met: set[str] = set()

    def see(self, record: QARecord) -> None:
        """Record the shingles of a training record's context."""
        key = hashlib.blake2b(record.context.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        if key in self._met:
            return
        self._met.add(key)
        listed = words(record.context)
        if not listed:
            return  # instructions without a document share nothing
        self._whole.setdefault(_digest(listed), record.id)
        found = shingles(listed)
        if not len(self._known) or not len(found):
            return
        places = np.minimum(np.searchsorted(self._known, found), len(self._known) - 1)
        places = places[self._known[places] == found]
        fresh = places[self._source[places] < 0]
        if len(fresh):
            self._source[fresh] = len(self._ids)
            self._ids.append(record.id)

    def seen(self, text: str) -> tuple[float, str | None]:
        """Return the share of an evaluation context found in training, and the training record that has most of it."""
        same = self._whole.get(self._digests[text])
        if same is not None:
            return 1.0, same
        sources = self._source[self._places[text]]
        found = sources[sources >= 0]
        if not len(found):
            return 0.0, None
        return len(found) / len(sources), self._ids[int(np.bincount(found).argmax())]


def shingles(listed: Sequence[str], size: int = SHINGLE) -> Hashes:
    """Return the hashes of the distinct runs of `size` words, sorted; none for a shorter text.

    A polynomial in the words' own hashes modulo 2^64, so the values hold within this process only.
    """
    if len(listed) < size:
        return np.empty(0, np.uint64)
    hashes = np.fromiter((hash(word) for word in listed), np.int64, len(listed)).view(np.uint64)
    windows = np.zeros(len(listed) - size + 1, np.uint64)
    for offset in range(size):  # wraps around on purpose
        windows = windows * _BASE + hashes[offset : offset + len(windows)]
    return np.unique(windows)


def _digest(listed: Sequence[str]) -> str:
    return hashlib.blake2b(" ".join(listed).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
