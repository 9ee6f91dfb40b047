"""Rewards: what a response is worth, by gold answers, by a judge, or by agreement with the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.rewards.answer_match import AnswerMatch
    from longmab_pl.rewards.base import Reward, RewardContext, Score

HOMES = {
    "AnswerMatch": "longmab_pl.rewards.answer_match",
    "Reward": "longmab_pl.rewards.base",
    "RewardContext": "longmab_pl.rewards.base",
    "Score": "longmab_pl.rewards.base",
}

__all__ = ["AnswerMatch", "Reward", "RewardContext", "Score"]

__getattr__ = lazy_exports(__name__, HOMES)
