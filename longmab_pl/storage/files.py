"""Files that a power cut leaves whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO, Any


def settle(file: IO[Any]) -> None:
    """Wait until what was written to the file is on disk."""
    file.flush()
    os.fsync(file.fileno())


def settle_folder(folder: Path) -> None:
    """Likewise for a folder's names, where the system can: a new file is safe only when its entry is on disk too."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
