"""Long contexts cut into overlapping chunks of whole sentences: the arms of the bandit (LongMab-PO, section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from longmab_pl.checks import at_least, one_of
from longmab_pl.data.sentences import sentence_starts
from longmab_pl.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ChunkStyle = Literal["linear", "paper"]

# The paper's marks end clauses as well as sentences.
_PAPER_MARK = re.compile(r"[!。，！?？,.;]")


@dataclass(frozen=True)
class Chunk:
    """A contiguous slice of a text.

    Args:
        index: position among the text's chunks, from 0.
        start: first character.
        end: one past the last character.
        tokens: its length in tokens.
    """

    index: int
    start: int
    end: int
    tokens: int

    def of(self, text: str) -> str:
        """Return the chunk's characters, given the text it was made from."""
        return text[self.start : self.end]


def chunk_text(
    text: str,
    tokenizer: PreTrainedTokenizerBase,
    chunk_size: int,
    overlap: int = 2,
    min_sentences: int = 2,
    style: ChunkStyle = "linear",
) -> list[str]:
    """Cut `text` into chunks of about `chunk_size` tokens, each starting `overlap` sentences before the last one ended.

    `style="linear"` (default): one tokenization; true sentence ends (`sentence_starts`); nothing is dropped. A chunk
    grows until it has `chunk_size` tokens, overlap included. It never has more than 1.5 times that: a sentence longer
    than `chunk_size` is split at token boundaries, and the overlap is shortened where it does not fit. A last chunk
    of fewer than `min_sentences` sentences is merged into the one before it, within the same limit.

    `style="paper"`: the original's chunks byte for byte, with its quirks. Clauses count as sentences. Text after the
    last mark is dropped. A text without any mark is one chunk of any length. Chunks that follow two clauses or fewer
    have no overlap. The length is compared without the overlap and re-encoded at every clause (quadratic in
    `chunk_size`). A last chunk that is merged into the one before it repeats their overlap.

    Args:
        text: the whole context.
        tokenizer: counts the tokens; `linear` needs one that gives character offsets.
        chunk_size: target length in tokens.
        overlap: sentences that a chunk shares with the one before it.
        min_sentences: fewest sentences of the last chunk.
        style: `linear` or `paper`, see above.

    Raises:
        ConfigError: a size out of range, an unknown style, or a tokenizer without offsets.
    """
    _check(chunk_size, overlap, min_sentences, style)
    if style == "paper":
        return [
            "".join(text[a:b] for a, b in parts)
            for parts in _paper(text, tokenizer, chunk_size, overlap, min_sentences)
        ]
    return [chunk.of(text) for chunk in _linear(text, tokenizer, chunk_size, overlap, min_sentences)]


def chunk_spans(
    text: str,
    tokenizer: PreTrainedTokenizerBase,
    chunk_size: int,
    overlap: int = 2,
    min_sentences: int = 2,
    style: ChunkStyle = "linear",
) -> list[Chunk]:
    """Return the chunks of `chunk_text` as spans, without copying the text.

    The paper's last chunk may repeat sentences when `min_sentences` > `overlap` + 1 > 1; a span has them once.

    Arguments and errors as for `chunk_text`.
    """
    _check(chunk_size, overlap, min_sentences, style)
    if style == "linear":
        return _linear(text, tokenizer, chunk_size, overlap, min_sentences)
    spans = [(parts[0][0], parts[-1][1]) for parts in _paper(text, tokenizer, chunk_size, overlap, min_sentences)]
    return [Chunk(i, a, b, len(tokenizer.encode(text[a:b]))) for i, (a, b) in enumerate(spans)]


def _check(chunk_size: int, overlap: int, min_sentences: int, style: str) -> None:
    one_of("chunk style", style, ("linear", "paper"), "use 'linear' or 'paper'")
    at_least("chunk_size", chunk_size, 1)
    at_least("overlap", overlap, 0)
    at_least("min_sentences", min_sentences, 0)


# --- linear ---------------------------------------------------------------------------------------------------------


def _linear(
    text: str, tokenizer: PreTrainedTokenizerBase, chunk_size: int, overlap: int, min_sentences: int
) -> list[Chunk]:
    if not text:
        return []
    places = token_starts(text, tokenizer)
    starts = _split_long(text, np.array(sentence_starts(text)), places, chunk_size)
    bounds = np.append(starts, len(text))
    # Tokens before each boundary. One that straddles a boundary belongs to the sentence in which it starts.
    before = np.searchsorted(places, bounds, side="left")
    ranges = list(_grow(before, chunk_size, overlap))
    ranges = _join_short_last(ranges, before, _limit(chunk_size), min_sentences)
    return [
        Chunk(i, int(bounds[first]), int(bounds[last]), int(before[last] - before[first]))
        for i, (first, last) in enumerate(ranges)
    ]


def _limit(chunk_size: int) -> int:
    return chunk_size + chunk_size // 2


def token_starts(text: str, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Return the character offset at which each token starts, shape [tokens], ascending."""
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"the tokenizer {type(tokenizer).__name__} gives no character offsets, which chunk style 'linear' needs: "
            "load a fast tokenizer (one with a tokenizer.json), or use style: paper"
        )
    encoding = tokenizer(
        text,
        add_special_tokens=False,
        truncation=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    offsets = np.array(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    return np.maximum.accumulate(offsets[:, 0])


def _split_long(text: str, starts: np.ndarray, token_starts: np.ndarray, chunk_size: int) -> list[int]:
    """Return the sentence starts, with sentences of more than `chunk_size` tokens split into even parts."""
    before = np.append(np.searchsorted(token_starts, starts, side="left"), len(token_starts))
    result: list[int] = []
    for start, first, last in zip(starts.tolist(), before[:-1].tolist(), before[1:].tolist(), strict=True):
        result.append(start)
        parts = -(-(last - first) // chunk_size)
        for part in range(1, parts):
            cut = _cut_between_words(
                text, token_starts, first + part * (last - first) // parts, (last - first) // parts // 4
            )
            if cut > result[-1]:
                result.append(cut)
    return result


def _cut_between_words(text: str, token_starts: np.ndarray, token: int, reach: int) -> int:
    """Return the start of `token`, or of a token up to `reach` earlier that begins a word."""
    for candidate in range(token, token - reach - 1, -1):
        start = int(token_starts[candidate])
        if text[start].isspace() or text[start - 1].isspace():
            return start
    return int(token_starts[token])


def _grow(before: np.ndarray, chunk_size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield ranges [first, last) of sentences; `before` [sentences + 1] counts the tokens before each sentence."""
    sentences, limit = len(before) - 1, _limit(chunk_size)
    first = new = 0
    while new < sentences:
        # Each chunk has at least one new sentence; the overlap is shortened to make room for it.
        while first < new and before[new + 1] - before[first] > limit:
            first += 1
        last = new + 1
        while (
            last < sentences and before[last] - before[first] < chunk_size and before[last + 1] - before[first] <= limit
        ):
            last += 1
        yield first, last
        # Never repeat the whole last chunk: one arm would contain another.
        first, new = max(first + 1, last - overlap), last


def _join_short_last(
    ranges: list[tuple[int, int]], before: np.ndarray, limit: int, min_sentences: int
) -> list[tuple[int, int]]:
    if len(ranges) < 2:
        return ranges
    (first, _), (own, last) = ranges[-2:]
    if last - own < min_sentences and before[last] - before[first] <= limit:
        return [*ranges[:-2], (first, last)]
    return ranges


# --- paper ----------------------------------------------------------------------------------------------------------


def _paper(
    text: str, tokenizer: PreTrainedTokenizerBase, chunk_size: int, overlap: int, min_sentences: int
) -> list[list[tuple[int, int]]]:
    """Return, for each of the original's chunks, the character spans that it concatenates."""
    bounds = [0, *(match.end() for match in _PAPER_MARK.finditer(text))]
    clauses = len(bounds) - 1
    if clauses == 0:
        return [[(0, len(text))]]

    def tokens(first: int, last: int) -> int:
        return len(tokenizer.encode(text[bounds[first] : bounds[last]]))

    chunks: list[list[tuple[int, int]]] = []
    new = overlap_tokens = 0
    for last in range(1, clauses + 1):
        if tokens(new, last) < chunk_size - overlap_tokens and last < clauses:
            continue
        if last > overlap:
            overlap_tokens = sum(tokens(clause, clause + 1) for clause in range(last - overlap, last))
        first = new - overlap if chunks and new > overlap else new
        span = (bounds[first], bounds[last])
        if chunks and last == clauses and last - first < min_sentences:
            chunks[-1].append(span)
        else:
            chunks.append([span])
        new = last
    return chunks
