from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest

from longmab_pl.data.chunking import Chunk, chunk_spans, chunk_text
from longmab_pl.data.sentences import sentence_starts
from longmab_pl.errors import ConfigError

ASSETS = Path(__file__).parents[1] / "assets"


def vectors() -> list[dict]:
    with gzip.open(ASSETS / "chunking.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def numbered(count: int) -> str:
    return " ".join(f"This is the sentence with number {i}." for i in range(10, 10 + count))


# --- paper ---


@pytest.mark.parametrize("row", vectors(), ids=lambda row: f"{row['context_id']}-{row['chunk_size']}")
def test_paper_chunks_byte_for_byte(row: dict, tokenizer, contexts: dict[str, str]) -> None:
    text = contexts[row["context_id"]]
    assert chunk_text(text, tokenizer, row["chunk_size"], style="paper") == row["chunks"]
    spans = chunk_spans(text, tokenizer, row["chunk_size"], style="paper")
    assert [span.of(text) for span in spans] == row["chunks"]
    assert [span.tokens for span in spans] == [len(tokenizer.encode(chunk)) for chunk in row["chunks"]]


def test_paper_quirks(tokenizer) -> None:
    def paper(text: str, size: int = 5, overlap: int = 2, min_sentences: int = 2) -> list[str]:
        return chunk_text(text, tokenizer, size, overlap, min_sentences, style="paper")

    assert paper("no mark at all " * 20) == ["no mark at all " * 20]
    assert paper("") == [""]
    assert paper("one, and a tail without a mark") == ["one,"]
    # Two clauses before it: no overlap yet. Three: the overlap starts.
    assert paper("a b c d e. f g h i j. k l m n o. p q r s t.") == [
        "a b c d e.",
        " f g h i j.",
        " k l m n o.",
        " f g h i j. k l m n o. p q r s t.",
    ]
    # Too short a last chunk joins the one before, overlap and all.
    assert paper("a b c d e. f g h i j. k l m n o. p.", overlap=1, min_sentences=3)[-1] == (
        " f g h i j. k l m n o. k l m n o. p."
    )
    assert paper("a b c d e. f g h i j. k.", overlap=0) == ["a b c d e.", " f g h i j. k."]


def test_a_merged_last_chunk_of_the_paper_is_one_span(tokenizer) -> None:
    text = "a b c d e. f g h i j. k l m n o. p."
    last = chunk_spans(text, tokenizer, 5, overlap=1, min_sentences=3, style="paper")[-1]
    assert last.of(text) == " f g h i j. k l m n o. p."


@pytest.mark.timeout(120)  # quadratic work would take hours
def test_paper_drops_a_long_text_without_marks(tokenizer) -> None:
    text = "words without any mark " * 20_000
    assert len("".join(chunk_text("First. " + text, tokenizer, 100, style="paper"))) < 20


# --- linear ---


def check_contract(text: str, chunks: list[Chunk], size: int) -> None:
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert chunks[0].start == 0
    assert chunks[-1].end == len(text)
    for before, after in pairwise(chunks):
        assert before.start < after.start <= before.end < after.end  # contiguous, and each brings something new
    assert all(0 < chunk.tokens <= 1.5 * size for chunk in chunks)


@pytest.mark.parametrize("size", [1, 7, 40, 150, 300, 5000])
@pytest.mark.parametrize("overlap", [0, 1, 2, 5])
def test_linear_contract_on_real_contexts(size: int, overlap: int, tokenizer, contexts: dict[str, str]) -> None:
    for text in contexts.values():
        chunks = chunk_spans(text, tokenizer, size, overlap)
        check_contract(text, chunks, size)
        assert chunk_text(text, tokenizer, size, overlap) == [chunk.of(text) for chunk in chunks]


def test_linear_chunks_start_at_sentences_and_overlap_by_two(tokenizer, contexts: dict[str, str]) -> None:
    for text in contexts.values():
        starts = [*sentence_starts(text), len(text)]
        chunks = chunk_spans(text, tokenizer, 400)
        assert len(chunks) > 3
        for before, after in pairwise(chunks):
            assert starts.index(before.end) - starts.index(after.start) == 2
        assert all(chunk.tokens >= 300 for chunk in chunks[:-1])


def test_linear_grows_until_the_size_is_reached(tokenizer) -> None:
    text = numbered(40)
    one = len(tokenizer(" This is the sentence with number 10.").input_ids)
    chunks = chunk_spans(text, tokenizer, 5 * one - 3, overlap=2)
    # Five sentences reach it, two of them shared.
    assert chunks[3].of(text) == " ".join(f"This is the sentence with number {i}." for i in range(19, 24)) + " "
    assert chunks[4].of(text).startswith("This is the sentence with number 22.")


def test_token_counts_are_those_of_the_slices(tokenizer, contexts: dict[str, str]) -> None:
    for text in contexts.values():
        for chunk in chunk_spans(text, tokenizer, 300):
            # A slice may end inside what is one token in the whole text (". " before a line, for one).
            assert abs(len(tokenizer(chunk.of(text)).input_ids) - chunk.tokens) <= 3


def test_a_short_last_chunk_joins(tokenizer) -> None:
    text = numbered(9)
    size = 4 * len(tokenizer(" This is the sentence with number 10.").input_ids) - 2
    assert [c.of(text).count(".") for c in chunk_spans(text, tokenizer, size, overlap=0, min_sentences=1)] == [4, 4, 1]
    assert [c.of(text).count(".") for c in chunk_spans(text, tokenizer, size, overlap=0, min_sentences=2)] == [4, 5]


def test_one_endless_sentence_is_split_between_words(tokenizer) -> None:
    text = "endless words go on and on " * 300
    chunks = chunk_spans(text, tokenizer, 100)
    check_contract(text, chunks, 100)
    assert all(chunk.tokens >= 50 for chunk in chunks)
    assert all(text[c.start].isspace() or text[c.start - 1].isspace() for c in chunks[1:])


@pytest.mark.parametrize(
    "text", ["x" * 5000, "😀" * 700, "我们都是好朋友" * 500, "\n" * 3000, "你好，世界。" * 500, "é́" * 900]
)
def test_texts_without_words_or_ends_are_covered(text: str, tokenizer) -> None:
    chunks = chunk_spans(text, tokenizer, 64)
    check_contract(text, chunks, 66)  # a character of several tokens is never cut


def test_long_sentences_leave_no_room_for_overlap_but_progress_goes_on(tokenizer) -> None:
    text = " ".join("word " * 60 + f"end {i}." for i in range(30))
    for overlap in (2, 50):
        chunks = chunk_spans(text, tokenizer, 70, overlap=overlap)
        check_contract(text, chunks, 70)
        assert len(chunks) == 30


def test_short_texts(tokenizer) -> None:
    assert chunk_text("", tokenizer, 10) == []
    assert chunk_text("  \n ", tokenizer, 10) == ["  \n "]
    assert chunk_text("Short, no mark", tokenizer, 10) == ["Short, no mark"]
    assert chunk_text("One. Two, without end", tokenizer, 100) == ["One. Two, without end"]


def test_a_text_is_tokenized_once_whatever_its_length(tokenizer, contexts: dict[str, str]) -> None:
    """Linear time in the number of tokens; `benchmarks/chunking.py` measures it."""
    seen: list[int] = []

    class Counting:
        is_fast = True

        def __call__(self, text: str, **options: object) -> object:
            seen.append(len(text))
            return tokenizer(text, **options)

    text = "\n\n".join(contexts.values()) * 4
    chunks = chunk_spans(text, Counting(), 500)
    assert len(chunks) > 50
    assert seen == [len(text)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chunk_size": 0}, "chunk_size is 0"),
        ({"chunk_size": 10, "overlap": -1}, "overlap is -1"),
        ({"chunk_size": 10, "min_sentences": -1}, "min_sentences is -1"),
        ({"chunk_size": 10, "style": "clauses"}, "'clauses'; use 'linear' or 'paper'"),
    ],
)
def test_bad_settings(arguments: dict, message: str, tokenizer) -> None:
    for function in (chunk_text, chunk_spans):
        with pytest.raises(ConfigError, match=message):
            function("A text.", tokenizer, **arguments)


def test_a_tokenizer_without_offsets_is_refused_by_name(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer()
    with pytest.raises(ConfigError, match=r"ByT5Tokenizer gives no character offsets.*style: paper"):
        chunk_text("A text. And more.", slow, 10)
    assert chunk_text("A text. And more.", slow, 5, overlap=0, min_sentences=1, style="paper") == [
        "A text.",
        " And more.",
    ]
