"""LongBench's official metrics as torchmetrics; `longmab_pl.evaluation.score` scores one prediction by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from longmab_pl.evaluation.longbench.scoring import best_score, first_line
from longmab_pl.evaluation.longbench.table import TaskSpec, task_spec
from longmab_pl.evaluation.metric import ItemScores, RecordMetric


class LongBenchMetric(RecordMetric):
    """Mean over records of the best score over each record's gold answers, in 0..100 (LongBench's official scorer).

    Args:
        first_line: score only a prediction's first line (trec, triviaqa, samsum, lsht).
    """

    metric: ClassVar[str]
    """Key of the scoring function in `scoring.SCORERS`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.names = (cls.metric,)

    def __init__(self, first_line: bool = False) -> None:
        super().__init__()
        self.first_line = first_line

    def score(self, prediction: str, answers: Sequence[str], all_classes: Sequence[str] | None = None) -> ItemScores:
        text = first_line(prediction) if self.first_line else prediction
        return ItemScores({self.metric: self.best(text, answers, all_classes)}, self.is_readable(prediction))

    def best(self, text: str, answers: Sequence[str], all_classes: Sequence[str] | None) -> float:
        """Return the best score of a post-processed text over the gold answers, in 0..1."""
        return best_score(self.metric, text, answers, all_classes)

    def is_readable(self, prediction: str) -> bool:
        """Return whether an answer of the asked form can be read; any text can."""
        return bool(prediction.strip())

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the mean so far, a float64 scalar in 0..100."""
        return 100 * self.totals[0] / self.n


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

    `update` needs `all_classes`, each record's list of labels.

    Args:
        first_line: score only a prediction's first line; on by default, as both tasks of this metric do.
        fixed: score without the official list-mutation bug.
    """

    metric = "classification"

    def __init__(self, first_line: bool = True, fixed: bool = False) -> None:
        super().__init__(first_line)
        self.fixed = fixed

    def best(self, text: str, answers: Sequence[str], all_classes: Sequence[str] | None) -> float:
        return best_score(self.metric, text, answers, all_classes, fixed=self.fixed)


class _Numeric(LongBenchMetric):
    metric = "count"

    def is_readable(self, prediction: str) -> bool:
        """Return whether the prediction names a number."""
        return any(map(str.isdigit, prediction))


class Count(_Numeric):
    """`scoring.count`: share of the numbers named that equal the gold count."""

    metric = "count"


class Retrieval(_Numeric):
    """`scoring.retrieval`: share of the numbers named that are the gold paragraph's."""

    metric = "retrieval"


class RetrievalZh(_Numeric):
    """`scoring.retrieval_zh`."""

    metric = "retrieval_zh"


class EditSimilarity(LongBenchMetric):
    """`scoring.edit_similarity`: similarity of the first code line."""

    metric = "edit_similarity"


_BY_NAME: dict[str, type[LongBenchMetric]] = {
    c.metric: c for c in (F1, F1Zh, RougeL, RougeLZh, Classification, Retrieval, RetrievalZh, Count, EditSimilarity)
}


def spec_metric(spec: TaskSpec, *, fixed_classification: bool = False) -> LongBenchMetric:
    """Return the metric of a row of the task table, with its post-processing.

    Args:
        spec: the row.
        fixed_classification: score without the official list-mutation bug (`scoring.classification`).
    """
    if spec.metric == Classification.metric:
        return Classification(spec.first_line, fixed_classification)
    return _BY_NAME[spec.metric](spec.first_line)


def task_metric(task: str) -> LongBenchMetric:
    """Return the metric of a LongBench task, with its post-processing. Raises `ConfigError` for an unknown task."""
    return spec_metric(task_spec(task))


def score(
    task: str,
    prediction: str,
    answers: str | Sequence[str],
    all_classes: Sequence[str] | None = None,
    *,
    fixed_classification: bool = False,
) -> float:
    """Return LongBench's official score of one prediction, in 0..100, rounded to 2 digits.

    Args:
        task: a task name, LongBench-E names included.
        prediction: the model's raw text; the task's post-processing is applied.
        answers: one or several gold answers; the best match counts.
        all_classes: the labels of trec and lsht.
        fixed_classification: score without the official list-mutation bug (`scoring.classification`).

    Raises:
        ConfigError: an unknown task, a missing label list, or a library of the `longbench` extra is not installed.
        DataError: a gold answer that the metric cannot read.

    Example:
        >>> score("hotpotqa", "the blue whale", ["Blue whale", "whale"])
        100.0
    """
    metric = spec_metric(task_spec(task), fixed_classification=fixed_classification)
    golds = [answers] if isinstance(answers, str) else list(answers)
    return round(100 * metric.score(prediction, golds, all_classes).scores[metric.metric], 2)
