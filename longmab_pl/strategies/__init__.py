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
    from longmab_pl.strategies.stepwise_search.critics import FactMemory, Refinement
    from longmab_pl.strategies.stepwise_search.strategy import StepwiseSearch

HOMES = {
    "BestOfN": "longmab_pl.strategies.best_of_n",
    "BanditRollout": "longmab_pl.strategies.bandit.strategy",
    "ClarificationTree": "longmab_pl.strategies.clarification_tree.strategy",
    "Chunking": "longmab_pl.strategies.bandit.strategy",
    "EarlyStopping": "longmab_pl.strategies.bandit.early_stopping",
    "FactMemory": "longmab_pl.strategies.stepwise_search.critics",
    "Probe": "longmab_pl.strategies.bandit.probe",
    "RecordRollout": "longmab_pl.strategies.base",
    "Refinement": "longmab_pl.strategies.stepwise_search.critics",
    "Response": "longmab_pl.strategies.base",
    "StepwiseSearch": "longmab_pl.strategies.stepwise_search.strategy",
    "Strategy": "longmab_pl.strategies.base",
    "StrategyContext": "longmab_pl.strategies.base",
}

__all__ = [
    "BanditRollout",
    "BestOfN",
    "Chunking",
    "ClarificationTree",
    "EarlyStopping",
    "FactMemory",
    "Probe",
    "RecordRollout",
    "Refinement",
    "Response",
    "StepwiseSearch",
    "Strategy",
    "StrategyContext",
]

__getattr__ = lazy_exports(__name__, HOMES)
