"""Lightning callbacks of longmab_pl."""

from __future__ import annotations

from longmab_pl.callbacks.checkpoint import AdapterCheckpoint
from longmab_pl.callbacks.export import AdapterExport
from longmab_pl.callbacks.infinitebench_evaluation import InfiniteBenchEvaluation
from longmab_pl.callbacks.longbench_evaluation import LongBenchEvaluation
from longmab_pl.callbacks.needle_probe import NeedleProbe
from longmab_pl.callbacks.progress import RoundProgressBar
from longmab_pl.callbacks.qa_evaluation import QAEvaluation
from longmab_pl.callbacks.round_report import RoundReport

__all__ = [
    "AdapterCheckpoint",
    "AdapterExport",
    "InfiniteBenchEvaluation",
    "LongBenchEvaluation",
    "NeedleProbe",
    "QAEvaluation",
    "RoundProgressBar",
    "RoundReport",
]

HOMES = {name: globals()[name].__module__ for name in __all__}
