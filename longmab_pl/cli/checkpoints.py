"""Which checkpoint a run continues from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from longmab_pl.errors import ConfigError


def checkpoint_to_resume(asked: Any, run: Path, folder: str | None = None) -> str | None:
    """Return the path of the checkpoint to resume from, or None for a new run.

    Args:
        asked: value of `--ckpt_path`: a file, or `last` or `best` for the run's own.
        run: the run folder.
        folder: folder of its checkpoints, if not the usual one.

    Raises:
        ConfigError: there is no such checkpoint; the message names the existing ones.
    """
    if asked is None:
        return None
    checkpoints = Path(folder) if folder else run / "checkpoints"
    path = checkpoints / f"{asked}.ckpt" if asked in ("last", "best") else Path(str(asked))
    if path.exists():
        return str(path)
    there = sorted(str(found) for found in checkpoints.glob("*.ckpt"))
    instead = f"there are {', '.join(there)}" if there else f"{checkpoints} holds none: leave --ckpt_path out to begin"
    raise ConfigError(f"--ckpt_path {asked}: there is no {path}; {instead}")
