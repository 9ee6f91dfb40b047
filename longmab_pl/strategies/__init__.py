"""Rollout strategies: each decides which requests to send for a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.strategies.bandit.early_stopping import EarlyStopping
    from longmab_pl.strategies.bandit.probe import Probe
    from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
    from longmab_pl.strategies.base import RecordRollout, Response, Strategy, StrategyContext
    from longmab_pl.strategies.best_of_n import BestOfN
    from longmab_pl.strategies.clarification_tree.strategy import ClarificationTree

HOMES = {
    "BestOfN": "longmab_pl.strategies.best_of_n",
    "BanditRollout": "longmab_pl.strategies.bandit.strategy",
    "ClarificationTree": "longmab_pl.strategies.clarification_tree.strategy",
    "Chunking": "longmab_pl.strategies.bandit.strategy",
    "EarlyStopping": "longmab_pl.strategies.bandit.early_stopping",
    "Probe": "longmab_pl.strategies.bandit.probe",
    "RecordRollout": "longmab_pl.strategies.base",
    "Response": "longmab_pl.strategies.base",
    "Strategy": "longmab_pl.strategies.base",
    "StrategyContext": "longmab_pl.strategies.base",
}

__all__ = [
    "BanditRollout",
    "BestOfN",
    "Chunking",
    "ClarificationTree",
    "EarlyStopping",
    "Probe",
    "RecordRollout",
    "Response",
    "Strategy",
    "StrategyContext",
]

__getattr__ = lazy_exports(__name__, HOMES)
