"""A question set from a folder of documents: asked, checked, put into contexts and written, resumable at any point."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from longmab_pl.checks import at_least, unit_interval
from longmab_pl.data.long_contexts import ContextSettings
from longmab_pl.engines.protocol import POLICY, Engine, RequestStream
from longmab_pl.errors import DataError, LongMabError
from longmab_pl.live import Bar
from longmab_pl.prompts import encoding
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.shown import first_line, tell
from longmab_pl.storage.files import atomic_write
from longmab_pl.storage.fingerprint import digest
from longmab_pl.synthesis.asking import QuestionAsker
from longmab_pl.synthesis.candidates import DUPLICATE, FAILED, Candidate
from longmab_pl.synthesis.contexts import QuestionRecord, question_records
from longmab_pl.synthesis.documents import (
    DocumentChunk,
    TextDocument,
    chunks_of,
    each_text_once,
    held_out_documents,
    read_documents,
)
from longmab_pl.synthesis.near_duplicates import near_duplicates
from longmab_pl.synthesis.settings import QuestionSettings
from longmab_pl.synthesis.summary import QuestionSummary, read_summary
from longmab_pl.synthesis.text_checks import problem_of

FORMAT = 1
"""Version of prompts and filters. Raise it when the same settings give other questions."""

R = TypeVar("R")


@dataclass(frozen=True)
class DocumentSource:
    """The documents to ask about.

    Args:
        folder: folder of text, Markdown and PDF files.
        held_out: share of the documents whose questions are for evaluation, in [0, 1).
        limit: most chunks to ask about; None: all.

    Raises:
        ConfigError: a value is out of range.
    """

    folder: str
    held_out: float = 0.1
    limit: int | None = None

    def __post_init__(self) -> None:
        unit_interval("held_out", self.held_out, one=False)
        at_least("limit", self.limit, 1, or_null=True)


@dataclass(frozen=True)
class AskedModel:
    """The model that writes and answers.

    Args:
        resolved: its folder or hub name.
        tokenizer: its tokenizer, with a chat template.
        identity: key of its weights and their format (`evaluation.model.model_identity`).
        adapter: folder of its adapter; None: none.
        template_arguments: further variables of its chat template, such as `{enable_thinking: false}`.
    """

    resolved: str
    tokenizer: Any
    identity: str
    adapter: Path | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        reader = encoding.text_tokenizer(self.tokenizer, text)
        return len(reader.encode(text, add_special_tokens=False, verbose=False))


class QuestionSet:
    """A question set in a folder: `train.jsonl`, `eval.jsonl`, `candidates.jsonl`, `summary.json`, and all replies.

    Args:
        folder: the folder.
        source: the documents.
        settings: how questions are written and checked.
        contexts: lengths and depths of contexts.
        model: the model that is asked.
        engine: its engine, which `write` starts if something is to be asked.
        progress: show progress bars.

    Example:
        >>> summary = QuestionSet(Path("mine"), DocumentSource("papers"), settings, contexts, model, engine).write()
        >>> print("\\n".join(summary.lines()))
    """

    def __init__(
        self,
        folder: Path,
        source: DocumentSource,
        settings: QuestionSettings,
        contexts: ContextSettings,
        model: AskedModel,
        engine: Engine,
        *,
        progress: bool = True,
    ) -> None:
        self.folder = folder
        self.source = source
        self.settings = settings
        self.contexts = contexts
        self.model = model
        self.engine = engine
        self._progress = progress

    def write(self) -> QuestionSummary:
        """Write the set and return its summary; an interrupted call goes on when it is repeated.

        Every reply of the model is on disk before it is used, so nothing is asked twice, also if documents are added
        or a threshold is changed. The same documents, settings and model give the same files.

        Raises:
            DataError: no document can be read, or no question is kept.
            EngineError: the engine cannot start, or failed; the same call goes on.
            LongMabError: a file cannot be written.
        """
        documents, bad = read_documents(self.source.folder)
        for one in bad:
            tell(f"left out: {one}")
        chunks = [
            chunk
            for document in documents
            for chunk in chunks_of(document, self.model.tokenizer, self.settings.chunk_size)
        ]
        fingerprint = self._fingerprint(documents)
        if (found := read_summary(self.folder, fingerprint)) is not None:
            tell(f"{self.folder}: there already, from the same documents, settings and model")
            return found
        held_out = held_out_documents(documents, self.source.held_out, self.settings.seed)
        once = each_text_once(sorted(chunks, key=lambda chunk: chunk.document in held_out))  # training has it first
        asked = sorted(once, key=lambda chunk: chunk.key)[: self.source.limit]
        candidates = self._candidates(asked)
        kept = [candidate for candidate in candidates if candidate.left_out is None]
        sides = {
            "train": [chunk for chunk in chunks if chunk.document not in held_out],
            "eval": [chunk for chunk in chunks if chunk.document in held_out],
        }
        self._write_lines("candidates.jsonl", [candidate.to_json() for candidate in candidates])
        records = {side: self._records(kept, own) for side, own in _without_shared_texts(sides).items()}
        summary = QuestionSummary.of(self.folder, documents, bad, held_out, chunks, asked, candidates, records)
        for side, made in records.items():
            rows = [record.to_json() for record in made if isinstance(record, QuestionRecord)]
            if rows:
                self._write_lines(f"{side}.jsonl", rows)
            else:
                (self.folder / f"{side}.jsonl").unlink(missing_ok=True)
        if not summary.records["train"]:
            raise DataError("\n".join(["no question can be used; a larger model writes better ones", *summary.lines()]))
        summary.save(fingerprint)
        return summary

    def _fingerprint(self, documents: Sequence[TextDocument]) -> str:
        return digest(
            {
                "format": FORMAT,
                "settings": asdict(self.settings),
                "contexts": asdict(self.contexts),
                "source": [self.source.held_out, self.source.limit],
                "model": [self.model.identity, dict(self.model.template_arguments)],
                "documents": [[document.name, digest(document.text)] for document in documents],
            }
        )

    def _records(self, kept: Sequence[Candidate], chunks: Sequence[DocumentChunk]) -> list[QuestionRecord | Candidate]:
        names = {chunk.document for chunk in chunks}
        own = [candidate for candidate in kept if candidate.chunk.document in names]
        return list(question_records(own, chunks, self.contexts, self.model.count))

    def _candidates(self, chunks: Sequence[DocumentChunk]) -> list[Candidate]:
        """Return all written questions, in the order of the chunks, each with why it is left out."""
        settings = self.settings
        sampled = {"format": FORMAT, "model": self.model.identity, "temperature": settings.temperature}
        fingerprint = digest({**sampled, "seed": settings.seed})
        with closing(Journal(self.folder / f"completions-{fingerprint}.jsonl", fingerprint)) as journal:
            self.engine.start(self.model.resolved)
            self.engine.wake()
            self.engine.sync(self.model.adapter)
            asker = QuestionAsker(
                settings, self.model.tokenizer, self.engine.structured_output, self.model.template_arguments
            )
            written = self._run("questions", "chunks", {chunk.key: asker.write(chunk) for chunk in chunks}, journal)
            candidates = [
                replace(one, left_out=one.left_out or problem_of(one, settings.max_answer_words))
                for chunk in chunks
                for one in _or_failed(written[chunk.key], chunk)
            ]
            passing = [one for one in candidates if one.left_out is None]
            repeated = near_duplicates(passing, settings.similarity)
            asked = [one for one in passing if one.id not in repeated]
            checked = self._run("answers", "questions", {one.id: asker.check(one) for one in asked}, journal)
        found: list[Candidate] = []
        for one in candidates:
            if one.id in repeated:
                one = replace(one, left_out=DUPLICATE)
            elif one.left_out is None:
                outcome = checked[one.id]
                one = replace(one, left_out=FAILED) if isinstance(outcome, LongMabError) else outcome
            found.append(one)
        return found

    def _run(
        self, title: str, unit: str, tasks: Mapping[str, RequestStream[R]], journal: Journal
    ) -> dict[str, R | LongMabError]:
        """Return the results of streams by key; the first error of one is told, the others are results too."""
        scheduler = Scheduler({POLICY: self.engine}, journal)
        found: dict[str, R | LongMabError] = {}
        failed = False
        with closing(Bar(title, len(tasks), unit, hidden=not self._progress)) as bar:
            for key, result in scheduler.run(tasks.items()):
                if isinstance(result, LongMabError) and not failed:
                    failed = True
                    tell(f"{key} {FAILED}: {first_line(result)}")
                found[key] = result
                bar.update(1)
        return found

    def _write_lines(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        with atomic_write(self.folder / name) as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _or_failed(written: list[Candidate] | LongMabError, chunk: DocumentChunk) -> list[Candidate]:
    return [Candidate(chunk, 0, "", "", FAILED)] if isinstance(written, LongMabError) else written


def _without_shared_texts(sides: dict[str, list[DocumentChunk]]) -> dict[str, list[DocumentChunk]]:
    """Return the chunks of both sides, without those of the evaluation whose text is in training documents too."""
    trained = {chunk.key for chunk in sides["train"]}
    return {"train": sides["train"], "eval": [chunk for chunk in sides["eval"] if chunk.key not in trained]}
