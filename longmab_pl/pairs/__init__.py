"""Preference pairs: built from scored responses, read from files, written to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.pairs.all_responses import AllResponses
    from longmab_pl.pairs.best_lower_half import BestLowerHalf
    from longmab_pl.pairs.best_worst import BestWorst
    from longmab_pl.pairs.clarification import ClarificationPairs
    from longmab_pl.pairs.rule import PairContext, PairRule
    from longmab_pl.pairs.step_pairs import StepPairs
    from longmab_pl.pairs.types import PreferencePair

HOMES = {
    "AllResponses": "longmab_pl.pairs.all_responses",
    "BestLowerHalf": "longmab_pl.pairs.best_lower_half",
    "BestWorst": "longmab_pl.pairs.best_worst",
    "ClarificationPairs": "longmab_pl.pairs.clarification",
    "PairContext": "longmab_pl.pairs.rule",
    "PairRule": "longmab_pl.pairs.rule",
    "PreferencePair": "longmab_pl.pairs.types",
    "StepPairs": "longmab_pl.pairs.step_pairs",
}

__all__ = [
    "AllResponses",
    "BestLowerHalf",
    "BestWorst",
    "ClarificationPairs",
    "PairContext",
    "PairRule",
    "PreferencePair",
    "StepPairs",
]

__getattr__ = lazy_exports(__name__, HOMES)
