"""Rows of a run's evaluation history: one for the suite as a whole and one for each of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.results import EvaluationResult, TaskResult
from longmab_pl.evaluation.statistics import PairedTest
from longmab_pl.evaluation.suite import Suite


@dataclass(frozen=True)
class Occasion:
    """When an evaluation takes place.

    Args:
        when: in words: "before training", "after round 2", "after step 40", "at the end".
        round: finished rounds (epochs over given pairs).
        step: optimizer steps taken.
    """

    when: str
    round: int
    step: int


@dataclass(frozen=True)
class EvaluationEntry:
    """The scores of one suite, or of one of its tasks, at one time of a run; a row of `report.json`.

    Args:
        when, round, step: see `Occasion`.
        suite: the suite's name.
        task: the task's name; None for the suite as a whole.
        n: records scored.
        scores: scores by metric, the main one first (for a suite its headline).
        format_rate: share of predictions with a readable answer, in 0..1.
        truncated_rate: share of responses that reached the token limit, in 0..1.
        against_first: paired test of the main metric against the run's first evaluation of this suite, in points of
            0..100; None for the first itself.
        policy: the weights that answered: the model's name and the adapter's digest, " + " between them.
        folder: folder of predictions and `result.json`, relative to the run folder.
    """

    when: str
    round: int
    step: int
    suite: str
    task: str | None
    n: int
    scores: Mapping[str, Score]
    format_rate: float
    truncated_rate: float
    against_first: PairedTest | None
    policy: str
    folder: str

    @property
    def metric(self) -> str:
        """The name of the main metric."""
        return next(iter(self.scores))

    @property
    def name(self) -> str:
        """Suite and task, "/" between them."""
        return self.suite if self.task is None else f"{self.suite}/{self.task}"

    def logged(self) -> dict[str, float]:
        """Return the row as flat numbers for a logger: `eval/<suite>[/<task>]/<metric>` and so on."""
        numbers = {metric: score.value for metric, score in self.scores.items()}
        numbers |= {"format_rate": self.format_rate, "truncated_rate": self.truncated_rate, "n": self.n}
        if self.against_first is not None and self.task is None:
            numbers |= {"difference": self.against_first.difference, "p_value": self.against_first.p_value}
        return {f"eval/{self.name}/{key}": float(value) for key, value in numbers.items()}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> EvaluationEntry:
        """Return the entry that `to_json` wrote. Raises `KeyError` or `TypeError` for another object."""
        test = row["against_first"]
        scores = {metric: Score(**score) for metric, score in row["scores"].items()}
        return cls(**{**row, "scores": scores, "against_first": None if test is None else PairedTest(**test)})


def entries_of(
    suite: Suite,
    result: EvaluationResult,
    occasion: Occasion,
    folder: str,
    against_first: Mapping[str, PairedTest],
) -> list[EvaluationEntry]:
    """Return the rows of an evaluation: the suite's first, then one for each task.

    A suite of one task that carries the suite's name has one row.

    Args:
        suite: the suite that was evaluated.
        result: the result.
        occasion: when it was evaluated.
        folder: folder of the predictions, relative to the run folder.
        against_first: paired tests by task, and of the headline score as "headline".
    """

    def entry(
        task: str | None, scores: Mapping[str, Score], results: list[TaskResult], test: PairedTest | None
    ) -> EvaluationEntry:
        n = sum(found.n for found in results)
        return EvaluationEntry(
            when=occasion.when,
            round=occasion.round,
            step=occasion.step,
            suite=suite.name,
            task=task,
            n=n,
            scores=scores,
            format_rate=1 - sum(found.format_failures for found in results) / n,
            truncated_rate=sum(found.truncated_responses for found in results) / n,
            against_first=test,
            policy=result.policy,
            folder=folder,
        )

    scores = suite.scores(result)
    headline = {suite.headline: scores[suite.headline]}
    rows = [entry(None, headline | dict(scores), list(result.tasks.values()), against_first.get("headline"))]
    if list(result.tasks) != [suite.name]:
        for name, found in result.tasks.items():
            by_metric = {metric: Score(value, *found.intervals[metric]) for metric, value in found.scores.items()}
            rows.append(entry(name, by_metric, [found], against_first.get(name)))
    return rows
