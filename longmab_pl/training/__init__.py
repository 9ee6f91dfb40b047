"""Training: policy, reference, batches that hold each shared prompt once, losses, the LightningModule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.training.module import DPOModule
    from longmab_pl.training.phases import Phase, PreferencePhase, SFTPhase
    from longmab_pl.training.policy import LoRASettings
    from longmab_pl.training.weighted import WeightedPhase

HOMES = {
    "DPOModule": "longmab_pl.training.module",
    "LoRASettings": "longmab_pl.training.policy",
    "Phase": "longmab_pl.training.phases",
    "PreferencePhase": "longmab_pl.training.phases",
    "SFTPhase": "longmab_pl.training.phases",
    "WeightedPhase": "longmab_pl.training.weighted",
}

__all__ = ["DPOModule", "LoRASettings", "Phase", "PreferencePhase", "SFTPhase", "WeightedPhase"]

__getattr__ = lazy_exports(__name__, HOMES)
