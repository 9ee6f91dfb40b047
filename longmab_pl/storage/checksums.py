"""Checksums of whole files, stored outside of the file so that its format is unchanged."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any


def file_checksum(path: Path) -> dict[str, Any]:
    """Return a file's `lines`, `bytes` and `blake2b` (16 hexadecimal digits), read block by block.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    lines = size = 0
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
            size += len(block)
            digest.update(block)
    return {"lines": lines, "bytes": size, "blake2b": digest.hexdigest()}


def difference(path: Path, expected: dict[str, Any]) -> str | None:
    """Return how a file differs from its checksum, in words, or None if it does not.

    Args:
        path: the file.
        expected: result of `file_checksum` for the intact file.
    """
    try:
        found = file_checksum(path)
    except OSError as error:
        return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    if found == expected:
        return None
    if path.suffix == ".jsonl" and found["lines"] != expected["lines"]:
        return f"is damaged: it has {found['lines']} of {expected['lines']} lines"
    return "is damaged: its checksum differs"


def zip_damage(path: Path) -> str | None:
    """Return what is wrong with a zip archive such as a checkpoint, in words, by its own checksums, or None.

    `torch.load` does not check them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except FileNotFoundError:
        return "does not exist"
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        return f"is damaged ({str(error)[:200] or type(error).__name__})"
    return f"is damaged (the checksum of {bad!r} differs)" if bad is not None else None
