"""The trained adapter as a plain PEFT folder at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from longmab_pl.dpo.module import DPOModule


class AdapterExport(Callback):
    """Writes the final adapter where Transformers, PEFT and vLLM load it as it is.

    Args:
        folder: where; None is `adapter` in the run folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def path(self, trainer: Trainer) -> Path:
        return Path(self.folder) if self.folder else Path(trainer.default_root_dir) / "adapter"

    @rank_zero_only
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > 0:
            cast(DPOModule, pl_module).save_adapter(self.path(trainer))
