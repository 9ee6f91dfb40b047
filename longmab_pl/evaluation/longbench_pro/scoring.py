"""LongBench Pro's metrics of one prediction, in 0..1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.longbench.scoring import rouge_l, rouge_l_zh

MARKERS = ("[Answer]", "[答案]")
"""Markers before the answer; the first of them that occurs is used."""

Metric = Callable[[Sequence[str], str], float]


def answer_area(text: str) -> str:
    """Return the text after the last marker, stripped; the whole text if there is none."""
    for marker in MARKERS:
        if marker in text:
            return text.rpartition(marker)[2].strip()
    return text.strip()


def normal_form(text: str) -> str:
    """Return a text in lower case with each run of white space as one blank."""
    return " ".join(text.lower().split())


def answer_lines(prediction: str) -> list[str]:
    """Return the lines of the answer area in normal form; empty lines are items too."""
    return [normal_form(line) for line in answer_area(prediction).split("\n")]


def _golds(answers: Sequence[str]) -> list[str]:
    return [normal_form(answer) for answer in answers]


def accuracy(answers: Sequence[str], prediction: str) -> float:
    """Return 1 if the first line is the first gold answer."""
    golds = _golds(answers)
    return float(bool(golds) and golds[0] == answer_lines(prediction)[0])


def f1(answers: Sequence[str], prediction: str) -> float:
    """Return the F1 of the set of lines against the set of gold answers."""
    golds, lines = set(_golds(answers)), set(answer_lines(prediction))
    common = len(golds & lines)
    if not common:
        return 0.0
    precision, recall = common / len(lines), common / len(golds)
    return 2 * precision * recall / (precision + recall)


def subem(answers: Sequence[str], prediction: str) -> float:
    """Return the share of gold answers that are lines of the prediction."""
    golds, lines = _golds(answers), answer_lines(prediction)
    return sum(gold in lines for gold in golds) / len(golds) if golds else 0.0


def ndcg(answers: Sequence[str], prediction: str) -> float:
    """Return NDCG at the number of gold answers: the first of them is the most relevant, by that number.

    A repeated line keeps its last place.
    """
    golds, lines = _golds(answers), answer_lines(prediction)
    k = len(golds)
    relevance = {gold: k - place for place, gold in enumerate(golds)}
    ranked = sorted({line: place for place, line in enumerate(lines)}.items(), key=lambda item: item[1])
    gain = sum(relevance.get(line, 0) / math.log2(rank + 2) for rank, (line, _) in enumerate(ranked[:k]))
    best = sorted(relevance.values(), reverse=True)
    ideal = sum(value / math.log2(rank + 2) for rank, value in enumerate(best))
    return gain / ideal if ideal else 0.0


def pairwise(answers: Sequence[str], prediction: str) -> float:
    """Return the number of pairs of gold answers in the right order, divided by the number of all pairs of lines.

    It exceeds 1 if gold answers repeat, which counts as a failed item.
    """
    golds, lines = _golds(answers), answer_lines(prediction)
    if len(golds) < 2 or len(lines) < 2:
        return 0.0
    place = {line: i for i, line in enumerate(lines)}
    right = sum(
        first in place and second in place and place[first] < place[second]
        for i, first in enumerate(golds)
        for second in golds[i + 1 :]
    )
    return right / math.comb(len(lines), 2)


def best_rouge(answers: Sequence[str], prediction: str, chinese: bool) -> float:
    """Return the best ROUGE-L F of the whole prediction against a reference (PyPI `rouge`), in lower case."""
    score = rouge_l_zh if chinese else rouge_l
    return max(score(prediction.lower(), answer.lower()) for answer in answers)


def summary(answers: Sequence[str], prediction: str, chinese: bool, similarities: Sequence[float]) -> float:
    """Return the mean of the best similarity and the best ROUGE-L.

    Args:
        answers: the references.
        prediction: the whole text of the model, not only the answer area.
        chinese: whether words are segmented by jieba.
        similarities: cosine of the embeddings of the prediction and each reference.
    """
    if not answers or not prediction:
        return 0.0
    return 0.5 * max(similarities) + 0.5 * best_rouge(answers, prediction, chinese)


SUMMARY = "summary"
"""The metric that needs an embedder, so it is not in `METRICS`."""

METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "subem": subem,
    "ndcg": ndcg,
    "pairwise": pairwise,
}

TASKS = {
    "T1.1 Global Cohesive Retrieval": "ndcg",
    "T1.2 Key-Snippet Retrieval": "ndcg",
    "T2.1 Global Timeline Reconstruction": "pairwise",
    "T2.2 Local Causal Chain Sorting": "pairwise",
    "T3.1 Multi-Doc Integration QA": "accuracy",
    "T3.2 Single-Hop Fact QA": "accuracy",
    "T4.1 Global-Coverage Constrained Summary": SUMMARY,
    "T4.2 Query-Focused Summary": SUMMARY,
    "T5.1 Full-Sentence Citation Alignment": "f1",
    "T5.2 Key-Statement Citation Alignment": "f1",
    "T6.1 Large-Scale Document Clustering": "subem",
    "T6.2 Targeted Subset Cluster Identification": "f1",
    "T6.3 Global Frequency Analysis": "pairwise",
    "T7.1 Global Conflict & Inconsistency Localization": "f1",
    "T7.2 Targeted Rule or Condition Violation Detection": "f1",
    "T7.3 Comprehensive Error & Anomaly Sweep": "f1",
    "T8.1 Structured Multi-Source Consistency Verification": "subem",
    "T8.2 Single-Source Targeted Aggregation": "subem",
    "T8.3 Long-Context Procedural State Tracking": "subem",
    "T9.1 Dependency-Aware Multi-Version Impact Analysis": "f1",
    "T9.2 Localized Interface Change Detection": "f1",
    "T10.1 Large-Scale In-Context Rule Induction": "subem",
    "T10.2 Targeted Example-Based Rule Induction": "subem",
    "T11.1 Long-Range Entity & Commitment Tracking": "accuracy",
    "T11.2 Short-Range Reference Resolution & State Query": "accuracy",
}
"""Name of the metric by secondary task."""


def task_metric(task: str) -> str:
    """Return the metric of a secondary task. Raises `ConfigError` for an unknown one."""
    if task not in TASKS:
        raise ConfigError(f"LongBench Pro has no secondary task {task!r}; tasks are {', '.join(TASKS)}")
    return TASKS[task]


def item_score(task: str, answers: Sequence[str], prediction: str) -> float | None:
    """Return the score of one prediction, or None where the original counts the item as failed.

    An empty prediction and a value outside 0..1 are failures; they score 0.

    Args:
        task: a secondary task with another metric than `SUMMARY`.
        answers: the gold answers.
        prediction: the whole text of the model.
    """
    if not prediction:
        return None
    score = METRICS[task_metric(task)](answers, prediction)
    return score if 0 <= score <= 1 else None
