"""The interface of evaluation suites, used by `longmab evaluate` and the `Evaluation` callback."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from longmab_pl.data.records import QARecord
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.length_curve import curves_of, draw_length_curves, length_curve
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.tables import results_table
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.storage.files import atomic_write, atomic_write_binary

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


def ignore(note: str) -> None:
    """Ignore a note."""


@dataclass(frozen=True)
class SuiteContext:
    """The context that a suite is given.

    Args:
        prompt_format: the rollout's own, for suites that are given none; None outside a run.
        held_out: records that the run holds out for evaluation.
        note: function that is called with messages about rows that cannot be used.
        max_model_len: longest prompt and answer of the engine, in tokens; None: not known yet.
    """

    prompt_format: PromptFormat | None = None
    held_out: Sequence[QARecord] = ()
    note: Callable[[str], None] = ignore
    max_model_len: int | None = None


@dataclass(frozen=True)
class Picture:
    """A picture of results.

    Args:
        name: its file's stem.
        figure: the drawing.
        numbers: the numbers of the last result that it shows, as JSON; written beside the picture.
    """

    name: str
    figure: Figure
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Write `<name>.png`, and `<name>.json` if there are numbers, into a folder; return the picture's path."""
        if self.numbers:
            with atomic_write(folder / f"{self.name}.json") as file:
                file.write(json.dumps(self.numbers, indent=1) + "\n")
        path = folder / f"{self.name}.png"
        with atomic_write_binary(path) as file:
            self.figure.savefig(file, format="png", dpi=150)
        return path


def length_pictures(results: Sequence[EvaluationResult], name: str = "curve") -> list[Picture]:
    """Return a picture of the scores by length of one or several results; none if their tasks have no lengths."""
    curves = curves_of(results)
    if not curves:
        return []
    return [Picture(name, draw_length_curves(curves), {"lengths": length_curve(results[-1])})]


class Suite(Protocol):
    """An evaluation: which tasks it asks, which score counts, and how its results are shown.

    Implementations subclass this class and define `name` and `tasks`; the other methods have defaults for tasks scored
    by means. They are given by class path: `longmab evaluate --suite my_module.MySuite`, and as `suite` of
    `longmab_pl.callbacks.Evaluation`. See `QASuite`, `LongBenchSuite`, `InfiniteBenchSuite` and `NeedleSuite`.

    Example:
        >>> @dataclass(frozen=True)
        ... class Capitals(Suite):
        ...     name: str = "capitals"
        ...
        ...     def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        ...         return [QATask("capitals", RECORDS, DirectAnswer())]
    """

    @property
    def name(self) -> str:
        """The suite's name in metrics (`eval/<name>/...`) and in the folder of the predictions."""

    @property
    def headline(self) -> str:
        """The key of `scores` that decides which adapter is best; higher is better."""
        return "score"

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        """Return the tasks with their records.

        Args:
            tokenizer: the evaluated model's tokenizer.
            context: see `SuiteContext`.

        Raises:
            ConfigError: a setting or a task name cannot be used.
            DataError: there is no such data, or no usable record in it.
        """

    @property
    def is_judged(self) -> bool:
        """Whether a judge gives the main score after all answers are there."""
        return False

    def rated(self, result: EvaluationResult, tasks: Sequence[EvaluationTask], folder: Path) -> EvaluationResult:
        """Return the result with the scores of a judge, for suites that have one; others return it unchanged.

        It is called when the evaluated model's engine is closed or asleep.

        Args:
            result: the result of asking the tasks.
            tasks: the tasks.
            folder: folder of the predictions, also for the judge's replies.

        Raises:
            EngineError: the judge failed; what it has said is on disk.
        """
        return result

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        """Return the scores of the suite as a whole: the mean of the tasks' main metrics, and each metric's mean."""
        macro = {f"macro/{key}": Score(mean, *result.macro_intervals[key]) for key, mean in result.macro.items()}
        return {"score": Score(result.score, *result.score_interval()), **macro}

    def headline_tasks(self, result: EvaluationResult) -> Sequence[str]:
        """Return the names of the tasks that `headline` is the score of; its paired test is over their records."""
        return list(result.tasks)

    def tables(self, results: Sequence[EvaluationResult]) -> list[Table]:
        """Return tables of one or several results side by side; the first is the baseline."""
        return [results_table(results)]

    def figures(self, results: Sequence[EvaluationResult]) -> list[Picture]:
        """Return pictures of one or several results side by side: the score by length, where the tasks have lengths."""
        return length_pictures(results)
