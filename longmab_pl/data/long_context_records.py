"""Question-answering records with long contexts, made from multi-hop questions (SeaLong, section 4.1)."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from longmab_pl.checks import at_least
from longmab_pl.data.articles import ARTICLES, ArticleStore, read_articles, read_documents
from longmab_pl.data.long_contexts import ContextBuilder, ContextSettings, Document, LongContext
from longmab_pl.data.multi_hop import MultiHopQuestion, read_questions
from longmab_pl.data.question_store import PassagePool, QuestionStore, shown_text
from longmab_pl.data.readers import BadRecord, first_of_each
from longmab_pl.data.titles import normalize_title, question_documents
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.storage.append_log import AppendLog, LogKind, read_fingerprint
from longmab_pl.storage.files import atomic_write
from longmab_pl.storage.fingerprint import digest

FORMAT = 1
"""Version of the records. Raise it when the same settings give other records."""

POOL = 20_000
"""Most passages of other records that are kept as distractors: those with the smallest hashes of their titles."""

RECORDS = LogKind("store of long-context records", 1, "it is made again")

UNANSWERABLE = "marked as unanswerable"
MISSING = "with a needed document that is not there"
TOO_LONG = "whose needed documents alone exceed max_tokens"
MALFORMED = "malformed"


@dataclass(frozen=True)
class LongContextSources:
    """Where questions and their documents come from.

    Args:
        questions: MuSiQue, HotpotQA or 2WikiMultihopQA records, or our own form (`read_questions`).
        articles: rows with `title` and `text`; contexts then consist of the full articles of the records' titles.
        documents: a folder of text and Markdown files, which are the distractors, and what `sources` name.
        split: split of a folder or data set of questions.

    Raises:
        ConfigError: both `articles` and `documents`.
    """

    questions: str
    articles: str | None = None
    documents: str | None = None
    split: str = "train"

    def __post_init__(self) -> None:
        if self.articles is not None and self.documents is not None:
            raise ConfigError("give articles or documents, not both")

    def identity(self) -> dict[str, Any]:
        """Return the sources with size and time of local files, which tell whether they have changed."""
        return {name: [value, _state(value)] for name, value in asdict(self).items() if value is not None}


@dataclass
class LongContextSummary:
    """What was made.

    Args:
        path: the file.
        tokens: length of each context, in tokens.
        left_out: questions without a record, by reason.
        bad: the malformed rows.
        collisions: articles that were not used because another has the same normalized title.
    """

    path: Path
    tokens: list[int] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    bad: list[BadRecord] = field(default_factory=list)
    collisions: int = 0

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        mean = sum(self.tokens) / max(len(self.tokens), 1)
        lengths = f"{min(self.tokens):,} to {max(self.tokens):,} tokens (mean {mean:,.0f})" if self.tokens else ""
        lines = [f"{self.path}: {len(self.tokens):,} records, {lengths}" if lengths else f"{self.path}: no record"]
        lines += [f"left out: {count:,} {reason}" for reason, count in self.left_out.items() if count]
        if self.collisions:
            lines.append(f"{self.collisions:,} articles not used: another one has the same title up to case and dots")
        return lines + first_of_each(self.bad)


def write_long_contexts(
    path: Path,
    sources: LongContextSources,
    settings: ContextSettings,
    count: Callable[[str], int],
    *,
    counted_by: str,
    limit: int | None = None,
    progress: bool = True,
) -> LongContextSummary:
    """Write records with long contexts as JSON Lines, atomically; an interrupted call continues when it is repeated.

    Which questions a limit takes, and what each context holds, depends on the seed, the questions' ids and the sources
    alone: neither on the order of the rows nor on the limit.

    Args:
        path: the file to write. Unfinished work is in a folder beside it.
        sources: questions and documents.
        settings: lengths, depths and seed.
        count: function that returns the tokens of a text.
        counted_by: name of its tokenizer.
        limit: number of records; None: all questions.
        progress: show a progress bar.

    Returns:
        What was made and what was left out.

    Raises:
        DataError: a source cannot be read, or no record can be made.
        LongMabError: the disk is full; the same call continues.
    """
    at_least("limit", limit, 1, or_null=True)
    read = [Path(source).expanduser().resolve() for source in (sources.questions, sources.articles or "")]
    if path.resolve() in read:
        raise ConfigError(f"{path} is a source of the records; give another file to write")
    _check(sources)
    parts = path.with_name(f"{path.name}.parts")
    try:
        summary = _write(path, parts, sources, settings, count, counted_by, limit, progress)
    except _NothingMade:
        shutil.rmtree(parts, ignore_errors=True)
        raise
    shutil.rmtree(parts, ignore_errors=True)
    return summary


def _check(sources: LongContextSources) -> None:
    """Read the beginning of each source, so that one that is not there is named before anything is written."""
    next(read_questions(sources.questions, sources.split), None)
    if sources.articles is not None:
        next(read_articles(sources.articles), None)
    if sources.documents is not None:
        next(read_documents(sources.documents), None)


class _NothingMade(DataError):
    """There is nothing to continue later."""


def _write(
    path: Path,
    parts: Path,
    sources: LongContextSources,
    settings: ContextSettings,
    count: Callable[[str], int],
    counted_by: str,
    limit: int | None,
    progress: bool,
) -> LongContextSummary:
    fingerprint = digest(
        {"format": FORMAT, "settings": asdict(settings), **sources.identity(), "counted_by": counted_by}
    )
    summary = LongContextSummary(path)
    for file, kind in ((parts / "articles.jsonl", ARTICLES), (parts / "records.jsonl", RECORDS)):
        if file.exists() and read_fingerprint(file, kind) != fingerprint:
            file.unlink()
    done: dict[str, tuple[int, int | str]] = {}  # id -> place in the store, and tokens or why it is left out

    def keep(row: dict[str, Any], place: int) -> None:
        done[row["id"]] = place, row["num_tokens"] if "num_tokens" in row else row["left_out"]

    with ExitStack() as open_files:
        records = open_files.enter_context(AppendLog(parts / "records.jsonl", RECORDS, fingerprint, keep))
        questions = open_files.enter_context(QuestionStore(parts / "questions.jsonl"))
        pool = _read_questions(questions, sources, settings.seed, summary)
        store = _store(parts / "articles.jsonl", fingerprint, sources, questions)
        if store is not None:
            open_files.enter_context(store)
            summary.collisions = store.collisions
        builder = ContextBuilder(settings, count, pool if store is None else store)
        made: list[int] = []
        wanted = min(limit or len(questions), len(questions))
        with tqdm(total=wanted, desc="contexts", unit="record", disable=not progress, dynamic_ncols=True) as bar:
            for question_id in questions.ids(settings.seed):
                if len(made) == wanted:
                    break
                if question_id not in done:
                    row = _record(questions.get(question_id), builder, store, sources)
                    keep(row, records.write_one(row))
                place, outcome = done[question_id]
                if isinstance(outcome, str):
                    summary.left_out[outcome] += 1
                    continue
                made.append(place)
                summary.tokens.append(outcome)
                bar.update()
        if not made:
            raise _NothingMade(
                "\n".join([f"{sources.questions}: no record can be made from it:", *summary.lines()[1:]])
            )
        with atomic_write(path) as lines:
            for place in made:
                lines.write(json.dumps(_stored(records, place), ensure_ascii=False) + "\n")
    return summary


def _read_questions(
    questions: QuestionStore, sources: LongContextSources, seed: int, summary: LongContextSummary
) -> PassagePool:
    """Store all questions, and return distractors from their passages, if contexts are to consist of them.

    Raises:
        DataError: the source cannot be read, or has no usable question.
    """
    pool = PassagePool(POOL, seed)
    for question in read_questions(sources.questions, sources.split):
        if question is None:
            summary.left_out[UNANSWERABLE] += 1
        elif isinstance(question, BadRecord):
            summary.left_out[MALFORMED] += 1
            summary.bad.append(question)
        else:
            questions.add(question)
            if sources.articles is None and sources.documents is None:
                for passage in (*question.support, *question.distractors):
                    pool.add(passage)
    if not len(questions):
        raise _NothingMade("\n".join([f"{sources.questions}: no usable question in it:", *summary.lines()[1:]]))
    return pool


def _stored(records: AppendLog, place: int) -> dict[str, Any]:
    row = records.read(place)
    if row is None:
        raise DataError(f"{records.path}: damaged on disk; delete it and run the same command again")
    return row


def _store(path: Path, fingerprint: str, sources: LongContextSources, questions: QuestionStore) -> ArticleStore | None:
    """Return the store of articles or documents, filled; None if contexts consist of the records' own passages."""
    if sources.articles is None and sources.documents is None:
        return None
    store = ArticleStore(path, fingerprint)
    if not store.complete:
        store.close()
        path.unlink()
        store = ArticleStore(path, fingerprint)
        if sources.articles is not None:
            store.fill(read_articles(sources.articles), questions.titles())
        elif sources.documents is not None:
            store.fill(read_documents(sources.documents), None)
    return store


def _record(
    question: MultiHopQuestion, builder: ContextBuilder, store: ArticleStore | None, sources: LongContextSources
) -> dict[str, Any]:
    """Return a question's record, or a row that says why it is left out."""
    documents = _documents(question, store, whole_articles=sources.articles is not None)
    if documents is None:
        return {"id": question.id, "left_out": MISSING}
    needed, own = documents
    context = builder.build(question.id, needed, own)
    if context is None:
        return {"id": question.id, "left_out": TOO_LONG}
    return _row(question, context)


def _row(question: MultiHopQuestion, context: LongContext) -> dict[str, Any]:
    more = {"answers": list(question.answers)} if len(question.answers) > 1 else {}
    return {
        "id": question.id,
        "input": question.question,
        "answer": question.answers[0],
        **more,
        "context": context.text,
        "num_tokens": context.tokens,
        "target_tokens": context.target,
        "passages": context.passages,
        "evidence": [passage.title for passage in question.support],
        "evidence_passages": list(context.places),
    }


def _documents(
    question: MultiHopQuestion, store: ArticleStore | None, *, whole_articles: bool
) -> tuple[list[Document], list[Document]] | None:
    """Return the needed documents and the question's own distractors, or None if a needed one is not there."""
    if whole_articles and store is not None:
        titles = [(passage.title, True) for passage in question.support]
        titles += [(passage.title, False) for passage in question.distractors]
        found = question_documents(titles, store)
        if found is None:
            return None
        return _of_store(found.support, store), _of_store(found.distractors, store)
    needed: dict[str, Document] = {}
    for passage in question.support:
        key = normalize_title(passage.title)
        if store is not None and key in store:
            needed[store.name(key)] = Document(store.name(key), store.text(key))
        elif passage.text.strip():
            needed[passage.key] = Document(passage.key, shown_text(passage))
        else:
            return None
    own = [
        Document(passage.key, shown_text(passage))
        for passage in question.distractors
        if store is None or normalize_title(passage.title) not in store
    ]
    return list(needed.values()), own


def _of_store(keys: Sequence[str], store: ArticleStore) -> list[Document]:
    return [Document(key, store.text(key)) for key in keys]


def _state(source: str) -> list[Any]:
    """Return name, size and time of change of the files of a local source; nothing for another one."""
    path = Path(source).expanduser()
    try:
        return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in _files(path)]
    except OSError:
        return []


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
