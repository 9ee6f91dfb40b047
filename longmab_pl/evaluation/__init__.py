"""What to ask, how to cut, how to score: LongBench v1, InfiniteBench En.QA and the paper's QA protocol."""

from __future__ import annotations

from longmab_pl.evaluation.longbench.table import score
from longmab_pl.evaluation.longbench.task import LongBenchTask, longbench_tasks
from longmab_pl.evaluation.needle.heat_map import NeedleMap, needle_map
from longmab_pl.evaluation.needle.task import NeedleSettings, NeedleTask, needle_task
from longmab_pl.evaluation.qa import QATask
from longmab_pl.evaluation.results import EvaluationResult, TaskResult, compare
from longmab_pl.evaluation.runner import evaluate

__all__ = [
    "EvaluationResult",
    "LongBenchTask",
    "NeedleMap",
    "NeedleSettings",
    "NeedleTask",
    "QATask",
    "TaskResult",
    "compare",
    "evaluate",
    "longbench_tasks",
    "needle_map",
    "needle_task",
    "score",
]

HOMES = {name: globals()[name].__module__ for name in __all__}
