"""Preference pairs: from scored responses, from files, to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.pairs.rule import PairRule
    from longmab_pl.pairs.types import PreferencePair

HOMES = {
    "PairRule": "longmab_pl.pairs.rule",
    "PreferencePair": "longmab_pl.pairs.types",
}

__all__ = ["PairRule", "PreferencePair"]

__getattr__ = lazy_exports(__name__, HOMES)
