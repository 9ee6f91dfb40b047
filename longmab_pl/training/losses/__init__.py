"""Preference losses, one small class each; configs name them `longmab_pl.training.losses.<class>`."""

from longmab_pl.training.losses.anchored import APOZero, KTOPair
from longmab_pl.training.losses.base import Losses, PreferenceLoss
from longmab_pl.training.losses.margin import IPO, LDDPO, HingeDPO, LengthNormalizedDPO, RobustDPO, SigmoidDPO
from longmab_pl.training.losses.reference_free import ORPO, SimPO

__all__ = [
    "IPO",
    "LDDPO",
    "ORPO",
    "APOZero",
    "HingeDPO",
    "KTOPair",
    "LengthNormalizedDPO",
    "Losses",
    "PreferenceLoss",
    "RobustDPO",
    "SigmoidDPO",
    "SimPO",
]

HOMES = {name: globals()[name].__module__ for name in __all__}
