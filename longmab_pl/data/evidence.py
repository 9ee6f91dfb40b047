"""Where a row says which part of its context holds the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from longmab_pl.data.numbering import passage_spans
from longmab_pl.data.qa_fields import context_passages
from longmab_pl.data.records import Span
from longmab_pl.data.titles import normalize_title

_FIELDS = ("evidence_passages", "evidence", "paragraphs", "supporting_facts")


def evidence_spans(
    row: Mapping[str, Any], context: str, fields: Mapping[str, str] | None = None
) -> tuple[Span, ...] | None:
    """Return the parts of a context that hold the evidence, ascending; None if the row does not say it readably.

    Read are, in this order: `evidence_passages` (numbers of passages from 1) and `evidence` (titles of passages) as
    `longmab synthesize` writes them, MuSiQue's `is_supporting`, and the titles in HotpotQA's and 2WikiMultihopQA's
    `supporting_facts`. Other data may use these names for something else, so what does not fit is not an error.

    Args:
        row: the row.
        context: its context, as `qa_fields.context` returns it.
        fields: our names -> the data's names, as in `read_records`.
    """
    if not any(row.get(name) for name in _FIELDS):
        return None
    listed = context_passages(row, fields)
    spans = passage_spans(context) if listed is None else _joined(listed)
    titles = [normalize_title(context[start:end].partition("\n")[0]) for start, end in spans]
    numbers = _numbers(row.get("evidence_passages"), len(spans))
    if numbers is None:
        numbers = _named(row.get("evidence"), titles)
    if numbers is None:
        numbers = _supporting(row.get("paragraphs"), len(spans))
    if numbers is None:
        numbers = _named(_fact_titles(row.get("supporting_facts")), titles)
    return None if numbers is None else tuple(spans[i] for i in sorted(set(numbers)))


def _joined(passages: list[str]) -> list[Span]:
    """Return the places of passages that blank lines separate."""
    starts = accumulate((len(text) + 2 for text in passages[:-1]), initial=0)
    return [(start, start + len(text)) for start, text in zip(starts, passages, strict=True)]


def _numbers(value: Any, passages: int) -> list[int] | None:
    if not value or not isinstance(value, list):
        return None
    inside = all(type(number) is int and 1 <= number <= passages for number in value)
    return [number - 1 for number in value] if inside else None


def _named(value: Any, titles: list[str]) -> list[int] | None:
    if not value or not isinstance(value, list) or not all(isinstance(title, str) for title in value):
        return None
    wanted = {normalize_title(title) for title in value}
    found = [i for i, title in enumerate(titles) if title in wanted]
    return found if {titles[i] for i in found} == wanted else None


def _supporting(value: Any, passages: int) -> list[int] | None:
    if not isinstance(value, list) or len(value) != passages:
        return None
    marks = [paragraph.get("is_supporting") if isinstance(paragraph, dict) else None for paragraph in value]
    known = any(marks) and all(isinstance(mark, bool) for mark in marks)
    return [i for i, mark in enumerate(marks) if mark] if known else None


def _fact_titles(value: Any) -> list[Any] | None:
    """Return the titles of supporting facts: [[title, sentence], ...] or {title: [...]}, also as JSON text."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[[", '{"'):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, dict):
        value = value.get("title")
        return value if isinstance(value, list) else None
    if isinstance(value, list) and value and all(isinstance(fact, list | tuple) and fact for fact in value):
        return [fact[0] for fact in value]
    return None
