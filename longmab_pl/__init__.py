"""longmab_pl: on-policy preference optimization for long-context language models, on PyTorch Lightning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.api import TrainedRun, train, train_on_file
    from longmab_pl.bandits.ucb1 import UCB1
    from longmab_pl.callbacks.evaluation import Evaluation
    from longmab_pl.callbacks.export import AdapterExport
    from longmab_pl.callbacks.round_report import RoundReport
    from longmab_pl.data.chunking import chunk_text
    from longmab_pl.data.truncation import cut_middle
    from longmab_pl.datamodules.preferences import PreferenceDataModule
    from longmab_pl.datamodules.rollouts import RolloutDataModule
    from longmab_pl.engines.vllm.engine import VLLMEngine
    from longmab_pl.evaluation.qa import QASuite
    from longmab_pl.prompts.formats import DirectAnswer
    from longmab_pl.rewards.answer_match import answer_scores, extract_answer, pair_reward, rollout_reward
    from longmab_pl.strategies.bandit.strategy import BanditRollout
    from longmab_pl.training.module import DPOModule

__version__ = "0.1.0"

HOMES = {
    "AdapterExport": "longmab_pl.callbacks.export",
    "BanditRollout": "longmab_pl.strategies.bandit.strategy",
    "DirectAnswer": "longmab_pl.prompts.formats",
    "Evaluation": "longmab_pl.callbacks.evaluation",
    "QASuite": "longmab_pl.evaluation.qa",
    "RoundReport": "longmab_pl.callbacks.round_report",
    "TrainedRun": "longmab_pl.api",
    "VLLMEngine": "longmab_pl.engines.vllm.engine",
    "train": "longmab_pl.api",
    "train_on_file": "longmab_pl.api",
    "UCB1": "longmab_pl.bandits.ucb1",
    "chunk_text": "longmab_pl.data.chunking",
    "cut_middle": "longmab_pl.data.truncation",
    "RolloutDataModule": "longmab_pl.datamodules.rollouts",
    "DPOModule": "longmab_pl.training.module",
    "PreferenceDataModule": "longmab_pl.datamodules.preferences",
    "answer_scores": "longmab_pl.rewards.answer_match",
    "extract_answer": "longmab_pl.rewards.answer_match",
    "pair_reward": "longmab_pl.rewards.answer_match",
    "rollout_reward": "longmab_pl.rewards.answer_match",
}

__all__ = [
    "UCB1",
    "AdapterExport",
    "BanditRollout",
    "DPOModule",
    "DirectAnswer",
    "Evaluation",
    "PreferenceDataModule",
    "QASuite",
    "RolloutDataModule",
    "RoundReport",
    "TrainedRun",
    "VLLMEngine",
    "answer_scores",
    "chunk_text",
    "cut_middle",
    "extract_answer",
    "pair_reward",
    "rollout_reward",
    "train",
    "train_on_file",
]


__getattr__ = lazy_exports(__name__, HOMES)
