"""Small JSON files that tell damage from content: one object with a checksum of its own values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from longmab_pl.errors import DataError
from longmab_pl.storage.files import atomic_write

_CHECKSUM = "checksum"


def write_checked_json(path: Path, values: dict[str, Any]) -> None:
    """Write an object, whole or not at all, with a checksum as its last field.

    Raises:
        LongMabError: the disk is full or the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(json.dumps({**values, _CHECKSUM: _checksum(values)}, indent=1) + "\n")


def read_checked_json(path: Path, fix: str) -> dict[str, Any]:
    """Read what `write_checked_json` wrote, without the checksum.

    Args:
        path: the file.
        fix: how to go on if it is damaged, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is damaged or another version's.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        expected = values.pop(_CHECKSUM)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is damaged, or another version wrote it: {fix}") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if _checksum(values) != expected:
        raise DataError(f"{path} is damaged (its checksum differs): {fix}")
    return values


def _checksum(values: dict[str, Any]) -> str:
    """Return 16 hexadecimal digits that change when any name or value does."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
