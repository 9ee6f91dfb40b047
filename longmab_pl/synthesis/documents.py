"""A folder of documents as chunks, about which questions are written and of which contexts are built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.data.chunking import chunk_spans
from longmab_pl.data.documents import document_paths, read_document
from longmab_pl.errors import DataError, LongMabError
from longmab_pl.prompts import encoding
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import first_line, shown

NAMED = 10
"""Most unreadable documents that a message lists."""


@dataclass(frozen=True)
class TextDocument:
    """A document.

    Args:
        name: its path in the folder.
        text: its text.
    """

    name: str
    text: str


@dataclass(frozen=True)
class BadDocument:
    """A document that cannot be read.

    Args:
        name: its path in the folder.
        reason: what is wrong and what to do.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.name, 200)}: {self.reason}"


@dataclass(frozen=True)
class DocumentChunk:
    """A chunk of a document.

    Args:
        document: the document's name.
        start: first character of it.
        text: the chunk, without blanks around it.
        tokens: its length in the model's tokens.
    """

    document: str
    start: int
    text: str
    tokens: int

    @property
    def key(self) -> str:
        """16 hexadecimal digits of its text: the same text has the same questions wherever it stands."""
        return hashlib.blake2b(self.text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def read_documents(folder: str) -> tuple[list[TextDocument], list[BadDocument]]:
    """Return the text, Markdown and PDF files in a folder and below, in the order of their paths, and the bad ones.

    A document that cannot be read costs the others nothing. Two files with the same text are one document.

    Raises:
        DataError: there is no such folder, no such file in it, or none of them can be read.
    """
    root, paths = Path(folder).expanduser(), document_paths(folder)
    found: list[TextDocument] = []
    bad: list[BadDocument] = []
    texts: dict[str, str] = {}
    for path in paths:
        name = str(path.relative_to(root))
        try:
            text = read_document(path)
        except LongMabError as error:
            bad.append(BadDocument(name, first_line(error).removeprefix(str(path)).lstrip(": ")))
            continue
        if text in texts:
            bad.append(BadDocument(name, f"has the same text as {shown(texts[text], 200)}"))
            continue
        texts[text] = name
        found.append(TextDocument(name, text))
    if not found:
        lines = "\n".join(str(one) for one in bad[:NAMED])
        raise DataError(f"{shown(folder, 200)}: none of its {len(bad):,} documents can be read:\n{lines}")
    return found, bad


def chunks_of(document: TextDocument, tokenizer: Any, chunk_size: int) -> list[DocumentChunk]:
    """Return a document's chunks of about `chunk_size` tokens, whole sentences, without overlap.

    Args:
        document: the document.
        tokenizer: the model's tokenizer.
        chunk_size: length in tokens.
    """
    counter = encoding.text_tokenizer(tokenizer, document.text)
    found = []
    for chunk in chunk_spans(document.text, counter, chunk_size, overlap=0, min_sentences=2):
        text = chunk.of(document.text)
        if text.strip():
            start = chunk.start + len(text) - len(text.lstrip())
            found.append(DocumentChunk(document.name, start, text.strip(), chunk.tokens))
    return found


def held_out_documents(documents: Sequence[TextDocument], share: float, seed: int) -> frozenset[str]:
    """Return the names of the documents that are held out for evaluation; at least one stays for training.

    The choice of a document depends on its text and the seed alone, the number on how many there are.

    Args:
        documents: all documents.
        share: share of them, in [0, 1); above 0 at least one of two or more.
        seed: seed of the choice.
    """
    if share <= 0 or len(documents) < 2:
        return frozenset()
    ranked = sorted(documents, key=lambda document: (derive_seed(seed, "held out", document.text), document.name))
    return frozenset(document.name for document in ranked[: max(1, int(share * len(documents)))])


def each_text_once(chunks: Sequence[DocumentChunk]) -> Iterator[DocumentChunk]:
    """Yield the first chunk of each text."""
    seen: set[str] = set()
    for chunk in chunks:
        if chunk.key not in seen:
            seen.add(chunk.key)
            yield chunk
