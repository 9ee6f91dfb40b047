"""InfiniteBench's tasks: name in the tables, metric, length of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from longmab_pl.evaluation.infinitebench import scoring
from longmab_pl.evaluation.infinitebench.scoring import Labels, Version


@dataclass(frozen=True)
class TaskSpec:
    """One task.

    Args:
        title: its name in the paper.
        score: score of a prediction against the labels, by the version of the program.
        new_tokens: the official limit of an answer.
    """

    title: str
    score: Callable[[str, Labels, Version], float]
    new_tokens: int


def _same(score: Callable[[str, Labels], float]) -> Callable[[str, Labels, Version], float]:
    return lambda prediction, labels, version: score(prediction, labels)


TASKS = {
    "passkey": TaskSpec("Retrieve.PassKey", _same(scoring.number), 6),
    "number_string": TaskSpec("Retrieve.Number", _same(scoring.number), 12),
    "kv_retrieval": TaskSpec("Retrieve.KV", scoring.key_value, 50),
    "longbook_sum_eng": TaskSpec("En.Sum", _same(scoring.summary), 1200),
    "longbook_choice_eng": TaskSpec("En.MC", scoring.choice, 40),
    "longbook_qa_eng": TaskSpec("En.QA", _same(scoring.english_qa), 40),
    "longbook_qa_chn": TaskSpec("Zh.QA", _same(scoring.chinese_qa), 40),
    "longdialogue_qa_eng": TaskSpec("En.Dia", scoring.dialogue, 40),
    "math_find": TaskSpec("Math.Find", _same(scoring.math_find), 3),
    "math_calc": TaskSpec("Math.Calc", _same(scoring.calculation), 30000),
    "code_run": TaskSpec("Code.Run", _same(scoring.code_run), 5),
    "code_debug": TaskSpec("Code.Debug", scoring.code_debug, 5),
}
"""Tasks by the stem of their file."""
