"""Scoring of predictions as torchmetrics: one record at a time, added up over batches and over ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

Answers = Sequence[str | Sequence[str]]
"""Each record's gold answer or answers."""


@dataclass(frozen=True)
class ItemScores:
    """The scores of one prediction.

    Args:
        scores: metric name to score, in 0..1.
        well_formed: whether an answer of the asked form could be read from the prediction.
        reasoned: whether reasoning was cut off before scoring.
        counted: whether the prediction belongs to the means; one that does not is reported as skipped.
    """

    scores: Mapping[str, float]
    well_formed: bool
    counted: bool = True
    reasoned: bool = False


class RecordMetric(Metric, ABC):
    """The mean over records of scores that each record has on its own. The evaluation runner scores with such metrics.

    The sums are kept in double precision, so that the second decimal of a published number can be compared. Before any
    `update` the means are NaN.

    A custom metric defines `names` and `score`:

        class Contains(RecordMetric):
            names = ("contains",)

            def score(self, prediction, answers, all_classes=None):
                return ItemScores({"contains": float(any(answer in prediction for answer in answers))}, True)

    Attributes:
        scored: the scores of each record of the last `update`, in its order.
    """

    names: ClassVar[tuple[str, ...]]
    """Names of the scores, the main one first."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    totals: Tensor  # [names], float64
    well_formed: Tensor
    n: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("well_formed", "n"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.scored: tuple[ItemScores, ...] = ()

    @abstractmethod
    def score(self, prediction: str, answers: Sequence[str], all_classes: Sequence[str] | None = None) -> ItemScores:
        """Return the scores of one record.

        Args:
            prediction: the model's text.
            answers: the gold answers; the best match counts.
            all_classes: the labels of a classification task.
        """

    def update(
        self, predictions: Sequence[str], answers: Answers, all_classes: Sequence[Sequence[str] | None] | None = None
    ) -> None:
        """Add a batch.

        Args:
            predictions: the model's texts [batch].
            answers: each record's gold answer or answers [batch].
            all_classes: each record's labels, for classification [batch].
        """
        labels = [None] * len(predictions) if all_classes is None else all_classes
        scored = []
        for prediction, golds, classes in zip(predictions, answers, labels, strict=True):
            listed = [golds] if isinstance(golds, str) else list(golds)
            scored.append(self.score(prediction, listed, classes))
        for one in filter(lambda one: one.counted, scored):
            self.totals += torch.tensor([one.scores[name] for name in self.names], dtype=torch.float64)
            self.well_formed += int(one.well_formed)
        self.n += sum(one.counted for one in scored)
        self.scored = tuple(scored)

    def means(self) -> dict[str, float]:
        """Return the means so far of this process alone, in 0..100; `compute` adds up over ranks first."""
        return {name: float(total) for name, total in zip(self.names, 100 * self.totals / self.n, strict=True)}

    def compute(self) -> dict[str, Tensor]:
        """Return the means (float64 scalars in 0..100), `format_rate` (0..1) and `n`."""
        means = dict(zip(self.names, 100 * self.totals / self.n, strict=True))
        return {**means, "format_rate": self.well_formed / self.n, "n": self.n}
