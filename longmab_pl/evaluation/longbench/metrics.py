"""LongBench's metrics and the paper's QA match as torchmetrics: they add up over batches and over ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from longmab_pl.evaluation.longbench.scoring import best_score, first_line
from longmab_pl.evaluation.longbench.table import task_spec
from longmab_pl.rewards.answer_match import answer_scores, extract_answer

Answers = Sequence[str | Sequence[str]]


class LongBenchMetric(Metric):
    """Mean over records of the best score over each record's gold answers, in 0..100 (LongBench's official scorer).

    The sums are kept in double precision, so that the second decimal of a published number can be compared.
    `compute` before any `update` gives NaN.

    Args:
        first_line: score only a prediction's first line (trec, triviaqa, samsum, lsht).
    """

    metric: ClassVar[str]
    """Key of the scoring function in `scoring.SCORERS`."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    total: Tensor
    n: Tensor

    def __init__(self, first_line: bool = False) -> None:
        super().__init__()
        self.first_line = first_line
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("n", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[str], answers: Answers) -> None:
        """Add a batch.

        Args:
            predictions: the model's texts [batch].
            answers: each record's gold answer or answers [batch].
        """
        for prediction, golds in zip(predictions, answers, strict=True):
            self._add(prediction, golds)

    def compute(self) -> Tensor:
        """The mean so far, a float64 scalar in 0..100."""
        return 100 * self.total / self.n

    def _add(
        self, prediction: str, golds: str | Sequence[str], classes: Sequence[str] | None = None, *, fixed: bool = False
    ) -> None:
        text = first_line(prediction) if self.first_line else prediction
        listed = [golds] if isinstance(golds, str) else list(golds)
        self.total += best_score(self.metric, text, listed, classes, fixed=fixed)
        self.n += 1


class F1(LongBenchMetric):
    """`scoring.f1`: bag-of-words F1 of English QA."""

    metric = "f1"


class F1Zh(LongBenchMetric):
    """`scoring.f1_zh`: F1 over jieba words."""

    metric = "f1_zh"


class RougeL(LongBenchMetric):
    """`scoring.rouge_l`: ROUGE-L F of the `rouge` package."""

    metric = "rouge_l"


class RougeLZh(LongBenchMetric):
    """`scoring.rouge_l_zh`: ROUGE-L over jieba words."""

    metric = "rouge_l_zh"


class Classification(LongBenchMetric):
    """`scoring.classification`: one over the number of labels named, if the gold one is among them.

    Args:
        first_line: score only a prediction's first line; on by default, as both tasks of this metric do.
        fixed: without the official list-mutation bug.
    """

    metric = "classification"

    def __init__(self, first_line: bool = True, fixed: bool = False) -> None:
        super().__init__(first_line)
        self.fixed = fixed

    def update(  # type: ignore[override]
        self, predictions: Sequence[str], answers: Answers, all_classes: Sequence[Sequence[str]]
    ) -> None:
        """Add a batch.

        Args:
            predictions: the model's texts [batch].
            answers: each record's gold label or labels [batch].
            all_classes: each record's list of labels [batch].
        """
        for prediction, golds, classes in zip(predictions, answers, all_classes, strict=True):
            self._add(prediction, golds, classes, fixed=self.fixed)


class Retrieval(LongBenchMetric):
    """`scoring.retrieval`: share of the numbers named that are the gold paragraph's."""

    metric = "retrieval"


class RetrievalZh(LongBenchMetric):
    """`scoring.retrieval_zh`."""

    metric = "retrieval_zh"


class Count(LongBenchMetric):
    """`scoring.count`: share of the numbers named that equal the gold count."""

    metric = "count"


class EditSimilarity(LongBenchMetric):
    """`scoring.edit_similarity`: similarity of the first code line."""

    metric = "edit_similarity"


_BY_NAME: dict[str, type[LongBenchMetric]] = {
    c.metric: c for c in (F1, F1Zh, RougeL, RougeLZh, Classification, Retrieval, RetrievalZh, Count, EditSimilarity)
}


def task_metric(task: str) -> LongBenchMetric:
    """The metric of a LongBench task, with its post-processing. Raises `ConfigError` for an unknown task."""
    spec = task_spec(task)
    return _BY_NAME[spec.metric](first_line=spec.first_line)


class QAMatch(Metric):
    """The paper's QA protocol: EM, F1 and SubEM of the answer extracted from each response (LongMab-PO, section 4.1).

    `compute` before any `update` gives NaN.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    em: Tensor
    f1: Tensor
    subem: Tensor
    well_formed: Tensor
    n: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("em", "f1", "subem"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("well_formed", "n"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[str], answers: Answers) -> None:
        """Add a batch.

        Args:
            predictions: whole responses, opening of the assistant's turn included [batch].
            answers: each record's gold answer or answers [batch].
        """
        for prediction, golds in zip(predictions, answers, strict=True):
            scores = answer_scores(prediction, golds)
            self.em += scores["em"]
            self.f1 += scores["f1"]
            self.subem += scores["subem"]
            self.well_formed += int(extract_answer(prediction) is not None)
            self.n += 1

    def compute(self) -> dict[str, Tensor]:
        """`em`, `f1`, `subem` (float64 scalars in 0..100), `format_rate` (0..1) and `n`."""
        percent = {name: 100 * getattr(self, name) / self.n for name in ("em", "f1", "subem")}
        return {**percent, "format_rate": self.well_formed / self.n, "n": self.n}
