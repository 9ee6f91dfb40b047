"""Training: policy, reference, batches that hold each shared prompt once, losses, the LightningModule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.training.module import DPOModule
    from longmab_pl.training.policy import LoRASettings

HOMES = {
    "DPOModule": "longmab_pl.training.module",
    "LoRASettings": "longmab_pl.training.policy",
}

__all__ = ["DPOModule", "LoRASettings"]

__getattr__ = lazy_exports(__name__, HOMES)
