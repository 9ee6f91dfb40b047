"""Training: policy, reference, batches that hold each shared prompt once, losses, the LightningModule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.training.module import DPOModule
    from longmab_pl.training.phases import Phase, PreferencePhase, SFTPhase
    from longmab_pl.training.policy import LoRASettings

HOMES = {
    "DPOModule": "longmab_pl.training.module",
    "LoRASettings": "longmab_pl.training.policy",
    "Phase": "longmab_pl.training.phases",
    "PreferencePhase": "longmab_pl.training.phases",
    "SFTPhase": "longmab_pl.training.phases",
}

__all__ = ["DPOModule", "LoRASettings", "Phase", "PreferencePhase", "SFTPhase"]

__getattr__ = lazy_exports(__name__, HOMES)
