"""Documents as text: text files, Markdown, and PDF by pypdf."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.shown import first_line, shown

TEXT_SUFFIXES = (".txt", ".md", ".markdown")
"""Endings of text and Markdown files in a folder of documents."""

SUFFIXES = (*TEXT_SUFFIXES, ".pdf")
"""Endings of all documents that can be read."""


def document_paths(folder: str, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Return the documents in a folder and below, sorted.

    Args:
        folder: the folder.
        suffixes: endings of the files, in lower case.

    Raises:
        DataError: there is no such folder, or no such file in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(f"{shown(folder, 200)}: no such folder; give one with {', '.join(suffixes)} files")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not paths:
        raise DataError(f"{shown(folder, 200)}: no {', '.join(suffixes)} file in it; put documents there")
    return paths


def read_document(path: Path) -> str:
    """Return a document's text; of a PDF the text of all pages, with blank lines between them.

    Args:
        path: a PDF (by its ending), or a file of UTF-8 text of any other ending.

    Raises:
        DataError: there is no such file, it is no text, or it holds none.
        ConfigError: a PDF, and pypdf is not installed.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError(f"{path}: no such file; give a text, Markdown or PDF file") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    is_pdf = path.suffix.lower() == ".pdf" or content.startswith(b"%PDF-")
    text = _pdf_text(path) if is_pdf else _text(path, content)
    if not text.strip():
        reason = "its pages may be pictures: run it through a text recognition first" if is_pdf else "it is empty"
        raise DataError(f"{path} holds no text ({reason})")
    return text


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start:,}); save it as UTF-8, or as a PDF") from error
    if "\0" in text:
        raise DataError(f"{path} is not text: it holds NUL bytes; give a text, Markdown or PDF file")
    return text


def _pdf_text(path: Path) -> str:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise ConfigError(f"{path}: reading a PDF needs pypdf: pip install 'longmab-pl[pdf]'") from error
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError(f"{path} is protected by a password; remove it first")
        pages = [page.extract_text() for page in reader.pages]
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise DataError(f"{path} cannot be read as a PDF: {first_line(error)}") from error
    text = "\n\n".join(page.strip() for page in pages)
    return text.encode("utf-8", "replace").decode()  # halves of characters, which no tokenizer takes
