"""Rewards: scores of responses by gold answers, by a judge, or by agreement with other responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.rewards.answer_match import AnswerMatch
    from longmab_pl.rewards.base import Reward, RewardContext, Score
    from longmab_pl.rewards.consistency import Consistency
    from longmab_pl.rewards.gold_agreement import GoldAgreement
    from longmab_pl.rewards.grounding import Grounding
    from longmab_pl.rewards.length import RequiredLength
    from longmab_pl.rewards.llm_judge.reward import LLMJudge
    from longmab_pl.rewards.weighted_sum import Weighted, WeightedSum
    from longmab_pl.rewards.writing_quality import WritingQuality

HOMES = {
    "AnswerMatch": "longmab_pl.rewards.answer_match",
    "Consistency": "longmab_pl.rewards.consistency",
    "GoldAgreement": "longmab_pl.rewards.gold_agreement",
    "Grounding": "longmab_pl.rewards.grounding",
    "LLMJudge": "longmab_pl.rewards.llm_judge.reward",
    "RequiredLength": "longmab_pl.rewards.length",
    "Reward": "longmab_pl.rewards.base",
    "RewardContext": "longmab_pl.rewards.base",
    "Score": "longmab_pl.rewards.base",
    "Weighted": "longmab_pl.rewards.weighted_sum",
    "WeightedSum": "longmab_pl.rewards.weighted_sum",
    "WritingQuality": "longmab_pl.rewards.writing_quality",
}

__all__ = [
    "AnswerMatch",
    "Consistency",
    "GoldAgreement",
    "Grounding",
    "LLMJudge",
    "RequiredLength",
    "Reward",
    "RewardContext",
    "Score",
    "Weighted",
    "WeightedSum",
    "WritingQuality",
]

__getattr__ = lazy_exports(__name__, HOMES)
