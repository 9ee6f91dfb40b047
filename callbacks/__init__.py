"""Lightning callbacks of longmab_pl."""

from __future__ import annotations

from longmab_pl.callbacks.checkpoint import AdapterCheckpoint
from longmab_pl.callbacks.evaluation import Evaluation, EvaluationSchedule
from longmab_pl.callbacks.export import AdapterExport
from longmab_pl.callbacks.progress import RoundProgressBar
from longmab_pl.callbacks.round_report import RoundReport
from longmab_pl.callbacks.run_logging import RunLogging

__all__ = [
    "AdapterCheckpoint",
    "AdapterExport",
    "Evaluation",
    "EvaluationSchedule",
    "RoundProgressBar",
    "RoundReport",
    "RunLogging",
]

HOMES = {name: globals()[name].__module__ for name in __all__}
