"""Multi-hop questions with the passages that answer them: MuSiQue, HotpotQA, 2WikiMultihopQA and our own form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from longmab_pl.data import qa_fields
from longmab_pl.data.qa_fields import FieldError, joined_sentences, kind
from longmab_pl.data.readers import BadRecord
from longmab_pl.data.sources import RawRow, open_source
from longmab_pl.data.titles import normalize_title
from longmab_pl.shown import quoted

_FORMS = (
    "give paragraphs (MuSiQue), context with supporting_facts (HotpotQA, 2WikiMultihopQA), context as one text, or "
    "sources, a list of titles"
)


@dataclass(frozen=True)
class Passage:
    """A titled text; empty where only its title is known.

    Args:
        title: title as the data has it; may be empty.
        text: the passage.
    """

    title: str
    text: str

    @property
    def key(self) -> str:
        """Its normalized title, or its text where it has none."""
        return normalize_title(self.title) or self.text


@dataclass(frozen=True)
class MultiHopQuestion:
    """A question with its passages. No title is in both groups, and none twice in a group.

    Args:
        id: unique in its file.
        question: what is asked.
        answers: gold answers.
        support: the passages that the answer needs.
        distractors: the record's other passages.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    support: tuple[Passage, ...]
    distractors: tuple[Passage, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the question as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> MultiHopQuestion:
        """Return the question that `to_json` wrote."""
        support, distractors = (tuple(Passage(**p) for p in row[name]) for name in ("support", "distractors"))
        return cls(row["id"], row["question"], tuple(row["answers"]), support, distractors)


def read_questions(source: str, split: str = "train") -> Iterator[MultiHopQuestion | BadRecord | None]:
    """Yield a source's questions; None for one that is marked as unanswerable, a `BadRecord` for a malformed row.

    Args:
        source: file, folder or data set, as for `read_records`, with rows of one of these forms:
            MuSiQue: `paragraphs` with `title`, `paragraph_text` and `is_supporting`; `answerable` may be false;
            HotpotQA and 2WikiMultihopQA, as files and from a hub: `context` of titles with sentences, and
            `supporting_facts` of titles with numbers of sentences;
            ours: `context` as one text, with a `title` if there is one, or `sources`, a list of titles of documents.
        split: split of a folder or data set whose name does not give one.

    Raises:
        DataError: the source cannot be read.
    """
    seen: dict[str, str] = {}
    for number, row in enumerate(open_source(source, split), start=1):
        try:
            if isinstance(row.value, dict) and row.value.get("answerable") is False:
                yield None
                continue
            found = _question(row, number)
            if found.id in seen:
                raise FieldError("id", f"{quoted(found.id)} is taken by {seen[found.id]}; give every record its own id")
        except FieldError as error:
            yield BadRecord(row.file, row.line, error.field, str(error))
            continue
        seen[found.id] = f"{row.file}:{row.line}"
        yield found


def _question(row: RawRow, number: int) -> MultiHopQuestion:
    if row.problem:
        raise FieldError("", row.problem)
    value = row.value
    if not isinstance(value, dict):
        raise FieldError("", f"the record is {kind(value)}; it must be an object with a question and passages")
    id, question, answers = qa_fields.record_id(value, number), qa_fields.question(value), qa_fields.answers(value)
    support, others = _separate(_marked(value))
    if not support:
        raise FieldError("", f"no passage of it is marked as needed for the answer; {_FORMS}")
    return MultiHopQuestion(id, question, answers, support, others)


def _marked(row: Mapping[str, Any]) -> list[tuple[Passage, bool]]:
    """Return a row's passages, each with whether the answer needs it."""
    if isinstance(row.get("paragraphs"), list):
        return [_musique(place, paragraph) for place, paragraph in enumerate(row["paragraphs"])]
    if row.get("sources") is not None:
        return [(Passage(title, ""), True) for title in _strings("sources", row["sources"])]
    context = _decoded(row.get("context"))
    if isinstance(context, str):
        title = row.get("title")
        text = qa_fields.checked_text("context", context)
        return [(Passage(title if isinstance(title, str) else "", text), True)]
    if context is None:
        raise FieldError("", f"the record has no documents; {_FORMS}")
    needed = _titles("supporting_facts", row.get("supporting_facts"))
    passages = _columns("context", context)
    there = {passage.title for passage in passages}
    missing = [(Passage(title, ""), True) for title in dict.fromkeys(needed) if title not in there]
    return [(passage, passage.title in needed) for passage in passages] + missing


def _musique(place: int, paragraph: Any) -> tuple[Passage, bool]:
    field = f"paragraphs[{place}]"
    if not isinstance(paragraph, dict):
        raise FieldError(field, f"is {kind(paragraph)}; give title, paragraph_text and is_supporting")
    title, text, needed = (paragraph.get(name) for name in ("title", "paragraph_text", "is_supporting"))
    if not isinstance(title, str) or not isinstance(text, str) or not isinstance(needed, bool):
        raise FieldError(field, "needs title and paragraph_text (texts) and is_supporting (true or false)")
    return Passage(title, _whole(field, text)), needed


def _columns(name: str, value: Any) -> list[Passage]:
    """Return passages given as [[title, [sentence, ...]], ...] or as {title: [...], sentences: [[...], ...]}."""
    if isinstance(value, dict):
        titles, bodies = value.get("title"), value.get("sentences", value.get("content"))
        if not isinstance(titles, list) or not isinstance(bodies, list) or len(titles) != len(bodies):
            raise FieldError(name, "is an object without title and sentences of equal number")
        value = [list(pair) for pair in zip(titles, bodies, strict=True)]
    if not isinstance(value, list):
        raise FieldError(name, f"is {kind(value)}; {_FORMS}")
    passages = []
    for place, pair in enumerate(value):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise FieldError(f"{name}[{place}]", f"is {kind(pair)} that is no passage; give a title and sentences")
        sentences = [pair[1]] if isinstance(pair[1], str) else _strings(f"{name}[{place}]", pair[1])
        passages.append(Passage(pair[0], _whole(f"{name}[{place}]", joined_sentences(sentences))))
    return passages


def _titles(name: str, value: Any) -> list[str]:
    """Return the titles of supporting facts: [[title, sentence], ...] or {title: [...], sent_id: [...]}."""
    value = _decoded(value)
    if value is None:
        raise FieldError(name, "missing; it says which passages the answer needs")
    if isinstance(value, dict):
        return _strings(name, value.get("title"))
    if not isinstance(value, list) or not all(isinstance(fact, list | tuple) and fact for fact in value):
        raise FieldError(name, f"is {kind(value)}; give a list of a title and a sentence's number each")
    return _strings(name, [fact[0] for fact in value])


def _decoded(value: Any) -> Any:
    """Return the list or object that a string holds as JSON, as some hub copies have it; other values unchanged."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[[", '{"'):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        raise FieldError(name, f"is {kind(value)}; give a list of texts")
    return [_whole(name, part) for part in value]


def _whole(name: str, text: str) -> str:
    if problem := qa_fields.half_character(text):
        raise FieldError(name, problem)
    return text


def _separate(marked: Sequence[tuple[Passage, bool]]) -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
    """Return needed and other passages: needed ones of one title as one passage, of others the first."""
    support: dict[str, Passage] = {}
    for passage, needed in marked:
        if needed:
            known = support.get(passage.key)
            text = f"{known.text}\n{passage.text}" if known is not None else passage.text
            support[passage.key] = Passage(passage.title, text)
    others: dict[str, Passage] = {}
    for passage, needed in marked:
        if not needed and passage.text.strip() and passage.key not in support:
            others.setdefault(passage.key, passage)
    return tuple(support.values()), tuple(others.values())
