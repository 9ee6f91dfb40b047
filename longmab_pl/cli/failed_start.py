"""Removal of what a failed start has written, where nothing of it is of use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

WORK = (
    "*.ckpt",
    "completions*.jsonl",
    "rollouts*.jsonl",
    "pairs.*",
    "adapter_model.safetensors",
    "evaluations/*/*/*.jsonl",
    "reference_logps-*.jsonl",
)
"""Files that hold work: a run folder with one of them is kept."""


@contextmanager
def no_folder_of_a_failed_start(run: Path, made: Sequence[Path] | None = None) -> Iterator[None]:
    """Remove the run folder after an error if the command made it and no work is in it.

    Args:
        run: the run folder.
        made: `missing_folders(run)` when the command began; None: that is now.
    """
    made = missing_folders(run) if made is None else made
    try:
        yield
    except Exception:
        if made and not has_work(run):
            shutil.rmtree(run, ignore_errors=True)
            for parent in made[1:]:
                with suppress(OSError):
                    parent.rmdir()
        raise


def missing_folders(run: Path) -> list[Path]:
    """Return the folder and those above it that do not exist, the innermost first."""
    found: list[Path] = []
    place = run.absolute()
    while not _exists(place) and place != place.parent:
        found.append(place)
        place = place.parent
    return found


def has_work(run: Path) -> bool:
    """Return whether a run folder holds finished answers, a checkpoint or an adapter."""
    return any(next(run.rglob(pattern), None) is not None for pattern in WORK)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True
