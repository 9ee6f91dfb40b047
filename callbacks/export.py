"""The trained adapter as a plain PEFT folder at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from longmab_pl.export.model_card import write_card
from longmab_pl.export.run_facts import read_run
from longmab_pl.training import adapter as adapters
from longmab_pl.training.module import DPOModule


class AdapterExport(Callback):
    """Export of the final adapter with its model card; Transformers, PEFT and vLLM load it as it is.

    For the best adapter of a run, or a merged model, see `longmab export`.

    Args:
        folder: target folder; None is `adapter` in the run folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self._done = False

    def path(self, trainer: Trainer) -> Path:
        return Path(self.folder) if self.folder else Path(trainer.default_root_dir) / "adapter"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._done = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._export(trainer, pl_module)
        self._done = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Continued from the last round's checkpoint, a run has nothing to train on and no end of training; the export
        # may be what had failed.
        if not self._done:
            self._export(trainer, pl_module)

    def _export(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = cast(DPOModule, pl_module)
        if trainer.global_step == 0 or module.policy is None:
            return
        module.gather_adapter()
        if not trainer.is_global_zero:
            return
        folder = module.save_adapter(self.path(trainer))
        facts = read_run(
            Path(trainer.default_root_dir),
            base_model=module.model,
            digest=module.adapter_digest(),
            lora=module.policy.peft_config[adapters.POLICY].to_dict(),
            step=trainer.global_step,
        )
        write_card(folder, facts)
