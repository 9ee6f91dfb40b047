"""Preference losses, one small class each; configs name them `longmab_pl.training.losses.<class>`."""

from longmab_pl.training.losses.apo import APOZero
from longmab_pl.training.losses.base import PairLogps, PairLosses, PreferenceLoss
from longmab_pl.training.losses.dpo import LDDPO, SigmoidDPO
from longmab_pl.training.losses.hinge import HingeDPO
from longmab_pl.training.losses.ipo import IPO
from longmab_pl.training.losses.kto import KTOPair
from longmab_pl.training.losses.length_normalized import LengthNormalizedDPO
from longmab_pl.training.losses.orpo import ORPO
from longmab_pl.training.losses.robust import RobustDPO
from longmab_pl.training.losses.simpo import SimPO

__all__ = [
    "IPO",
    "LDDPO",
    "ORPO",
    "APOZero",
    "HingeDPO",
    "KTOPair",
    "LengthNormalizedDPO",
    "PairLogps",
    "PairLosses",
    "PreferenceLoss",
    "RobustDPO",
    "SigmoidDPO",
    "SimPO",
]

HOMES = {name: globals()[name].__module__ for name in __all__}
