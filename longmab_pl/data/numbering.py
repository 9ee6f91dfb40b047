"""Passages of a context, and the numbers by which an answer may name them: `[3]`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from longmab_pl.data.records import QARecord, Span
from longmab_pl.data.sentences import sentence_starts

_HEADER = re.compile(r"^Passage (\d+):[^\S\n]*\n?", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_LISTED = r"\d+(?:\s*[,;–-]\s*\d+)*"
_BRACKETED = re.compile(rf"\[({_LISTED})\]")
_NAMES = re.compile(rf"[^\S\n]*\[{_LISTED}\]")
_RANGE = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")
_WIDEST_RANGE = 100


def passage_spans(context: str) -> list[Span]:
    """Return the characters [start, end) of a context's passages, without `Passage 3:` headers, ascending.

    Passages begin at the headers `Passage 1:`, `Passage 2:`, ... if the context begins with the first of them, else
    after blank lines.

    Args:
        context: the whole context.

    Example:
        >>> passage_spans("Passage 1: Lima\\nIn Peru.\\n\\nPassage 2: Quito\\nIn Ecuador.")
        [(11, 27), (38, 55)]
    """
    bounds: list[tuple[int, int]] = []  # end of the passage before, start of the next one
    for header in _HEADER.finditer(context):
        if int(header[1]) == len(bounds) + 1:
            bounds.append(header.span())
    if not bounds or context[: bounds[0][0]].strip():
        bounds = [(0, 0), *(blank.span() for blank in _BLANK_LINE.finditer(context))]
    ends = [*(end for end, _ in bounds[1:]), len(context)]
    spans = [(start, start + len(context[start:end].rstrip())) for (_, start), end in zip(bounds, ends, strict=True)]
    return [(start, end) for start, end in spans if start < end]


def numbered(record: QARecord, max_characters: int = 1500) -> QARecord:
    """Return a record whose context has a number before each passage, `[1] ` to `[n] `.

    Passages with more than `max_characters` are divided at ends of sentences into parts with numbers of their own.
    Headers `Passage 3:` are replaced by the numbers. Numbers in brackets that the text itself has are put into
    parentheses, so that `[3]` always is a passage. A part of the context keeps its numbers, whichever part it is.

    Args:
        record: a record whose context has no numbers yet; one without a context is returned unchanged.
        max_characters: longest part of a passage, except for a longer sentence.

    Returns:
        The record with the new context, the starts of its numbered passages, and its evidence at the new places.

    Example:
        >>> numbered(QARecord("r", "Where is Lima?", ("Peru",), "Lima is in Peru [2].\\n\\nQuito is not.")).context
        '[1] Lima is in Peru (2).\\n\\n[2] Quito is not.'
    """
    if record.passages or not record.context.strip():
        return record
    context = _BRACKETED.sub(r"(\1)", record.context)
    parts = [part for span in passage_spans(context) for part in _divided(context, span, max_characters)]
    texts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    length, follows = 0, False
    for number, (start, end) in enumerate(parts, start=1):
        # Parts of one passage stay on one line; passages are set apart by a blank line.
        gap = "" if number == 1 else " " if follows else "\n\n"
        starts.append(length + len(gap))
        text = f"{gap}[{number}] {context[start:end].rstrip()}"
        texts.append(text)
        length += len(text)
        ends.append(length)
        follows = number < len(parts) and not context[end : parts[number][0]].strip() and parts[number][0] == end
    evidence = record.evidence
    if evidence is not None:
        holding = sorted({i for span in evidence for i in _overlapping(parts, span)})
        evidence = tuple((starts[i], ends[i]) for i in holding)
    return replace(record, context="".join(texts), passages=tuple(starts), evidence=evidence)


def numbered_part(record: QARecord, start: int, end: int) -> str:
    """Return characters of a record's context, after the number of the passage in which they begin.

    Args:
        record: a record; of one without numbers the characters are returned as they are.
        start: first character.
        end: one past the last character.
    """
    text = record.context[start:end]
    first = end - len(text.lstrip())
    number = bisect_right(record.passages, first)
    begins = not number or record.passages[number - 1] == first
    return text if begins else f"[{number}] {text}"


def passage_texts(record: QARecord) -> list[str]:
    """Return the numbered passages of a record, the first one first, with their numbers."""
    return [record.context[start:end] for start, end in _numbered_spans(record)]


def evidence_numbers(record: QARecord) -> frozenset[int] | None:
    """Return the numbers of the passages that hold a numbered record's evidence; None if it is not known."""
    if record.evidence is None:
        return None
    spans = _numbered_spans(record)
    return frozenset(i + 1 for span in record.evidence for i in _overlapping(spans, span))


def named_passages(text: str) -> frozenset[int]:
    """Return the numbers that a text names in brackets: `[3]`, `[3, 7]`, `[3-5]`.

    Example:
        >>> sorted(named_passages("See [2, 5] and [7-9], not (4)."))
        [2, 5, 7, 8, 9]
    """
    return frozenset(number for listed in _BRACKETED.findall(text) for number in _numbers(listed))


def without_names(text: str) -> str:
    """Return a text without the passages that it names in brackets.

    Example:
        >>> without_names("Answer: Lima [3] [4].")
        'Answer: Lima.'
    """
    return _NAMES.sub("", text)


def _numbered_spans(record: QARecord) -> list[Span]:
    ends = [*record.passages[1:], len(record.context)] if record.passages else []
    return list(zip(record.passages, ends, strict=True))


def _numbers(listed: str) -> Iterator[int]:
    for first, last in _RANGE.findall(listed):
        if len(first) > 9 or len(last) > 9:
            yield -1  # a number of no passage
        elif last and 0 <= int(last) - int(first) < _WIDEST_RANGE:
            yield from range(int(first), int(last) + 1)
        else:
            yield from (int(number) for number in (first, last) if number)


def _divided(context: str, span: Span, max_characters: int) -> Iterator[Span]:
    """Yield a passage in parts of whole sentences."""
    start, end = span
    if end - start <= max_characters:
        yield span
        return
    first = last = start
    for begin in [*(start + offset for offset in sentence_starts(context[start:end])[1:]), end]:
        if begin - first > max_characters and last > first:
            yield first, last
            first = last
        last = begin
    yield first, end


def _overlapping(spans: Sequence[Span], wanted: Span) -> Iterator[int]:
    """Yield the indices of ascending spans that share a character with one."""
    start, end = wanted
    index = max(bisect_right(spans, start, key=lambda span: span[0]) - 1, 0)
    while index < len(spans) and spans[index][0] < end:
        if spans[index][1] > start:
            yield index
        index += 1
