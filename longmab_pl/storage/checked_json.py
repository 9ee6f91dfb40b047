"""Small JSON files with a checksum of their values, so that damage is detected."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from longmab_pl.errors import DataError
from longmab_pl.storage.files import atomic_write

_CHECKSUM = "checksum"


def write_checked_json(path: Path, values: dict[str, Any]) -> None:
    """Write an object atomically, with a checksum as its last field.

    Raises:
        LongMabError: the disk is full or the file cannot be written.
    """
    values = json.loads(json.dumps(values))  # as they will be read: numeric keys become strings
    with atomic_write(path) as file:
        file.write(json.dumps({**values, _CHECKSUM: _checksum(values)}, indent=1) + "\n")


def read_checked_json(path: Path, fix: str) -> dict[str, Any]:
    """Read an object written by `write_checked_json`, without the checksum.

    Args:
        path: the file.
        fix: message text on how to continue if the file is damaged.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is damaged or of another version.
    """
    try:
        values: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged (not JSON): {fix}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(values, dict) or not is_whole(values):
        raise DataError(f"{path} is damaged (its checksum differs): {fix}")
    return {name: value for name, value in values.items() if name != _CHECKSUM}


def verified(values: dict[str, Any], path: Path, fix: str) -> dict[str, Any]:
    """Return an object without its checksum; an object without one, such as a file edited by hand, is unchanged.

    Raises:
        DataError: the checksum does not match.
    """
    if _CHECKSUM in values and not is_whole(values):
        raise DataError(f"{path} is damaged (its checksum differs): {fix}")
    return {name: value for name, value in values.items() if name != _CHECKSUM}


def is_whole(values: dict[str, Any]) -> bool:
    """Return whether an object has a checksum that matches its other values."""
    others = {name: value for name, value in values.items() if name != _CHECKSUM}
    return values.get(_CHECKSUM) == _checksum(others)


def _checksum(values: dict[str, Any]) -> str:
    """Return 16 hexadecimal digits that change with any name or value."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
