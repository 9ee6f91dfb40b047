"""Writing and reading of checkpoints: written completely or not at all, read only if the checksums are right."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from longmab_pl.errors import DataError
from longmab_pl.shown import first_line
from longmab_pl.storage.checksums import zip_damage
from longmab_pl.storage.files import atomic_write_binary


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint files that are written under another name, flushed to disk, then renamed.

    The previous checkpoint is kept until the new one is complete.

    Lightning's own writes into the folder of temporary files first, and where that is another file system it copies
    over the old checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            LongMabError: the disk is full or the file cannot be written; the one before is intact.
        """
        content = io.BytesIO()  # the adapter and its optimizer only: small
        torch.save(checkpoint, content)
        with atomic_write_binary(Path(path)) as file:
            file.write(content.getbuffer())

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint and verify its checksums.

        Raises:
            DataError: it is missing or damaged; the message names the other checkpoints in the folder.
        """
        path = Path(path)
        damage = zip_damage(path)
        if damage is None:
            try:
                loaded: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=weights_only)
                return loaded
            except Exception as error:  # of pickle, zip or torch, by where it is damaged
                damage = f"is damaged ({first_line(error)})"
        others = sorted(str(other) for other in path.parent.glob("*.ckpt") if other != path and not zip_damage(other))
        instead = f"give one of {', '.join(others)}" if others else "there is no other beside it: begin again without"
        raise DataError(f"the checkpoint {path} {damage}; {instead}")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint if it is there."""
        path = Path(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
