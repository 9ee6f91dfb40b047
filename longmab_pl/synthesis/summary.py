"""What was made of a folder of documents, in numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longmab_pl.storage.files import atomic_write
from longmab_pl.synthesis.candidates import REASONS, Candidate
from longmab_pl.synthesis.contexts import QuestionRecord
from longmab_pl.synthesis.documents import BadDocument, DocumentChunk, TextDocument

TOO_LONG = "chunk longer than a context may be"


@dataclass(frozen=True)
class QuestionSummary:
    """What was made.

    Args:
        folder: folder of the set.
        documents: documents read.
        unreadable: documents left out, each with its reason.
        held_out: documents whose questions are for evaluation.
        chunks: chunks of all documents.
        asked: chunks asked about.
        written: questions written, unreadable ones too.
        left_out: questions left out by reason, in the order of the filters.
        records: records by side, `train` and `eval`.
        tokens: shortest and longest context by side; empty for a side without records.
    """

    folder: str
    documents: int
    unreadable: tuple[str, ...]
    held_out: int
    chunks: int
    asked: int
    written: int
    left_out: Mapping[str, int]
    records: Mapping[str, int]
    tokens: Mapping[str, Sequence[int]]

    @classmethod
    def of(
        cls,
        folder: Path,
        documents: Sequence[TextDocument],
        bad: Sequence[BadDocument],
        held_out: Collection[str],
        chunks: Sequence[DocumentChunk],
        asked: Sequence[DocumentChunk],
        candidates: Sequence[Candidate],
        records: Mapping[str, Sequence[QuestionRecord | Candidate]],
    ) -> QuestionSummary:
        """Return the summary of candidates and records."""
        reasons = Counter(candidate.left_out for candidate in candidates)
        made = {
            side: [one.context.tokens for one in found if isinstance(one, QuestionRecord)]
            for side, found in records.items()
        }
        left_out = {reason: reasons[reason] for reason in REASONS}
        left_out[TOO_LONG] = sum(isinstance(one, Candidate) for found in records.values() for one in found)
        return cls(
            folder=str(folder),
            documents=len(documents),
            unreadable=tuple(str(one) for one in bad),
            held_out=len(held_out),
            chunks=len(chunks),
            asked=len(asked),
            written=len(candidates),
            left_out=left_out,
            records={side: len(tokens) for side, tokens in made.items()},
            tokens={side: (min(tokens), max(tokens)) if tokens else () for side, tokens in made.items()},
        )

    @property
    def kept(self) -> int:
        """Number of questions that passed all filters."""
        return self.written - sum(self.left_out.values())

    def lines(self) -> list[str]:
        """Return the summary as lines of text, the yield by filter in the order of the filters."""
        unread = f" ({len(self.unreadable):,} left out)" if self.unreadable else ""
        lines = [
            f"{self.documents:,} documents{unread}, {self.chunks:,} chunks; {self.written:,} questions written about "
            f"{self.asked:,} of them"
        ]
        for reason, count in self.left_out.items():
            if count:
                lines.append(f"  {count:>7,}  {count / max(self.written, 1):6.1%}  {reason}")
        lines.append(f"  {self.kept:>7,}  {self.kept / max(self.written, 1):6.1%}  kept")
        for side, count in self.records.items():
            if count:
                low, high = self.tokens[side]
                apart = f", of {self.held_out:,} held-out documents" if side == "eval" else ""
                lines.append(
                    f"{Path(self.folder) / f'{side}.jsonl'}: {count:,} records, {low:,} to {high:,} tokens{apart}"
                )
        return lines

    def save(self, fingerprint: str) -> None:
        """Write `summary.json`.

        Args:
            fingerprint: identifies documents, settings and model.

        Raises:
            LongMabError: it cannot be written.
        """
        with atomic_write(Path(self.folder) / "summary.json") as file:
            file.write(json.dumps({"fingerprint": fingerprint, **asdict(self)}, indent=1) + "\n")


def read_summary(folder: Path, fingerprint: str) -> QuestionSummary | None:
    """Return the summary in a folder if it belongs to these documents, settings and model and the files are there."""
    try:
        found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if found.pop("fingerprint") != fingerprint:
            return None
        summary = QuestionSummary(**{**found, "folder": str(folder), "unreadable": tuple(found["unreadable"])})
        sides = [side for side, count in summary.records.items() if count]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return summary if all((folder / f"{side}.jsonl").is_file() for side in sides) else None
