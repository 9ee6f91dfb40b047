"""Evaluation: suites, their prompts and cuts, their scores, and the runner that evaluates them on an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.exports import lazy_exports

if TYPE_CHECKING:
    from longmab_pl.evaluation.agentic.suite import AgenticSuite
    from longmab_pl.evaluation.asking import Asking
    from longmab_pl.evaluation.entry import EvaluationEntry
    from longmab_pl.evaluation.estimate import Score
    from longmab_pl.evaluation.helmet.suite import HELMETSuite
    from longmab_pl.evaluation.infinitebench.all_tasks import InfiniteBenchTasksSuite
    from longmab_pl.evaluation.infinitebench.suite import InfiniteBenchSuite
    from longmab_pl.evaluation.judge import Judge
    from longmab_pl.evaluation.longbench.judged_suite import JudgedLongBenchSuite
    from longmab_pl.evaluation.longbench.metrics import score
    from longmab_pl.evaluation.longbench.subem_suite import SubEMSuite
    from longmab_pl.evaluation.longbench.suite import LongBenchSuite
    from longmab_pl.evaluation.longbench.task import LongBenchTask, longbench_tasks
    from longmab_pl.evaluation.longbench_chat_suite import LongBenchChatSuite
    from longmab_pl.evaluation.longbench_pro.suite import LongBenchProSuite
    from longmab_pl.evaluation.longbench_v2.suite import LongBenchV2Suite
    from longmab_pl.evaluation.longbench_write_suite import LongBenchWriteSuite
    from longmab_pl.evaluation.longgenbench_suite import LongGenBenchSuite
    from longmab_pl.evaluation.mrcr.suite import MRCRSuite
    from longmab_pl.evaluation.needle.heat_map import NeedleMap, needle_map
    from longmab_pl.evaluation.needle.suite import NeedleSuite
    from longmab_pl.evaluation.needle.task import NeedleSettings, NeedleTask, needle_task
    from longmab_pl.evaluation.nolima.suite import NoLiMaSuite
    from longmab_pl.evaluation.qa import QASuite, QATask
    from longmab_pl.evaluation.results import EvaluationResult, TaskResult, compare
    from longmab_pl.evaluation.ruler.suite import RULERSuite
    from longmab_pl.evaluation.runner import evaluate
    from longmab_pl.evaluation.suite import Picture, Suite, SuiteContext

HOMES = {
    "AgenticSuite": "longmab_pl.evaluation.agentic.suite",
    "Asking": "longmab_pl.evaluation.asking",
    "EvaluationEntry": "longmab_pl.evaluation.entry",
    "EvaluationResult": "longmab_pl.evaluation.results",
    "HELMETSuite": "longmab_pl.evaluation.helmet.suite",
    "InfiniteBenchSuite": "longmab_pl.evaluation.infinitebench.suite",
    "InfiniteBenchTasksSuite": "longmab_pl.evaluation.infinitebench.all_tasks",
    "Judge": "longmab_pl.evaluation.judge",
    "JudgedLongBenchSuite": "longmab_pl.evaluation.longbench.judged_suite",
    "LongBenchChatSuite": "longmab_pl.evaluation.longbench_chat_suite",
    "LongBenchProSuite": "longmab_pl.evaluation.longbench_pro.suite",
    "LongBenchSuite": "longmab_pl.evaluation.longbench.suite",
    "LongBenchTask": "longmab_pl.evaluation.longbench.task",
    "LongBenchV2Suite": "longmab_pl.evaluation.longbench_v2.suite",
    "LongBenchWriteSuite": "longmab_pl.evaluation.longbench_write_suite",
    "LongGenBenchSuite": "longmab_pl.evaluation.longgenbench_suite",
    "MRCRSuite": "longmab_pl.evaluation.mrcr.suite",
    "NeedleMap": "longmab_pl.evaluation.needle.heat_map",
    "NeedleSettings": "longmab_pl.evaluation.needle.task",
    "NeedleSuite": "longmab_pl.evaluation.needle.suite",
    "NeedleTask": "longmab_pl.evaluation.needle.task",
    "NoLiMaSuite": "longmab_pl.evaluation.nolima.suite",
    "Picture": "longmab_pl.evaluation.suite",
    "QASuite": "longmab_pl.evaluation.qa",
    "QATask": "longmab_pl.evaluation.qa",
    "RULERSuite": "longmab_pl.evaluation.ruler.suite",
    "Score": "longmab_pl.evaluation.estimate",
    "SubEMSuite": "longmab_pl.evaluation.longbench.subem_suite",
    "Suite": "longmab_pl.evaluation.suite",
    "SuiteContext": "longmab_pl.evaluation.suite",
    "TaskResult": "longmab_pl.evaluation.results",
    "compare": "longmab_pl.evaluation.results",
    "evaluate": "longmab_pl.evaluation.runner",
    "longbench_tasks": "longmab_pl.evaluation.longbench.task",
    "needle_map": "longmab_pl.evaluation.needle.heat_map",
    "needle_task": "longmab_pl.evaluation.needle.task",
    "score": "longmab_pl.evaluation.longbench.metrics",
}

__all__ = [
    "AgenticSuite",
    "Asking",
    "EvaluationEntry",
    "EvaluationResult",
    "HELMETSuite",
    "InfiniteBenchSuite",
    "InfiniteBenchTasksSuite",
    "Judge",
    "JudgedLongBenchSuite",
    "LongBenchChatSuite",
    "LongBenchProSuite",
    "LongBenchSuite",
    "LongBenchTask",
    "LongBenchV2Suite",
    "LongBenchWriteSuite",
    "LongGenBenchSuite",
    "MRCRSuite",
    "NeedleMap",
    "NeedleSettings",
    "NeedleSuite",
    "NeedleTask",
    "NoLiMaSuite",
    "Picture",
    "QASuite",
    "QATask",
    "RULERSuite",
    "Score",
    "SubEMSuite",
    "Suite",
    "SuiteContext",
    "TaskResult",
    "compare",
    "evaluate",
    "longbench_tasks",
    "needle_map",
    "needle_task",
    "score",
]

__getattr__ = lazy_exports(__name__, HOMES)
