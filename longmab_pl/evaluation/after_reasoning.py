"""Metrics of the part of an answer that follows the reasoning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.metric import ItemScores, RecordMetric

Scorer = Callable[[str, Sequence[str]], ItemScores]
"""A function of an answer without its reasoning and the gold answers that returns scores."""


class AfterReasoning(RecordMetric):
    """The mean of scores that each answer has on its own, after its reasoning is removed.

    Args:
        asking: its `score_reasoning` decides whether the reasoning is scored too.
        scorer: returns the scores `names`.
    """

    names: ClassVar[tuple[str, ...]] = ("score",)

    def __init__(self, asking: Asking, scorer: Scorer) -> None:
        super().__init__()
        self.asking = asking
        self.scorer = scorer

    def score(self, prediction: str, answers: Sequence[str], all_classes: Sequence[str] | None = None) -> ItemScores:
        answer = self.asking.scored(prediction)
        return replace(self.scorer(answer, answers), reasoned=answer != prediction)


class AccuracyAfterReasoning(AfterReasoning):
    """`AfterReasoning` under the name `accuracy`."""

    names = ("accuracy",)


class SimilarityAfterReasoning(AfterReasoning):
    """MRCR's grade, `similarity`, and the share of answers that start as asked, `prefix`."""

    names = ("similarity", "prefix")
