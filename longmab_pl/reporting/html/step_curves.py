"""Rewards by step over all records of a round, those that have stopped included."""

from __future__ import annotations

import math
from dataclasses import dataclass

from longmab_pl.reporting.html.intervals import Estimate, Z
from longmab_pl.reporting.rollout_trace import RolloutTrace


@dataclass(frozen=True)
class StepCurves:
    """Means over all records of a round, by step.

    A record that stopped keeps its last value, so that every point is a mean over the same records: without that, a
    curve falls because solved records are asked no more.

    Args:
        best: best reward so far [T].
        mean: mean reward of the step's answers [T].
        asked: share of records that were still asked in the step [T].
        records: number of records.
    """

    best: tuple[Estimate, ...] = ()
    mean: tuple[Estimate, ...] = ()
    asked: tuple[float, ...] = ()
    records: int = 0


class _Sums:
    """Sums and sums of squares by step of values that stay at their last one, in memory of one value a step."""

    def __init__(self) -> None:
        self._at: list[tuple[float, float]] = []  # of the records that are asked in this step
        self._kept: list[tuple[float, float]] = []  # by the first step in which a record is asked no more

    def add(self, values: list[float]) -> None:
        while len(self._at) < len(values):
            self._at.append((0.0, 0.0))
            self._kept.append((0.0, 0.0))
        while len(self._kept) < len(values) + 1:
            self._kept.append((0.0, 0.0))
        for step, value in enumerate(values):
            total, squares = self._at[step]
            self._at[step] = (total + value, squares + value**2)
        total, squares = self._kept[len(values)]
        self._kept[len(values)] = (total + values[-1], squares + values[-1] ** 2)

    def estimates(self, records: int) -> tuple[Estimate, ...]:
        found, kept, kept_squares = [], 0.0, 0.0
        for step, (total, squares) in enumerate(self._at):
            kept, kept_squares = kept + self._kept[step][0], kept_squares + self._kept[step][1]
            mean = (total + kept) / records
            if records == 1:
                found.append(Estimate(mean, n=1))
                continue
            variance = max((squares + kept_squares) / records - mean**2, 0.0) * records / (records - 1)
            half = Z * math.sqrt(variance / records)
            found.append(Estimate(mean, mean - half, mean + half, records))
        return tuple(found)


class StepCurveSums:
    """The sums that `StepCurves` are made from; records are added one by one."""

    def __init__(self) -> None:
        self._best, self._mean = _Sums(), _Sums()
        self._lengths: list[int] = []  # number of records by number of steps
        self._records = 0

    def add(self, trace: RolloutTrace) -> None:
        """Add a record; one without any known reward is left out."""
        if not trace.rewards:
            return
        best: list[float] = []
        for rewards in trace.rewards:
            best.append(max(*rewards, *best[-1:], -math.inf))
        self._best.add(best)
        self._mean.add([sum(rewards) / len(rewards) for rewards in trace.rewards])
        self._lengths += [0] * (len(trace.rewards) + 1 - len(self._lengths))
        self._lengths[len(trace.rewards)] += 1
        self._records += 1

    def curves(self) -> StepCurves:
        """Return the means of the records so far."""
        if not self._records:
            return StepCurves()
        asked = [sum(self._lengths[step + 1 :]) / self._records for step in range(len(self._lengths) - 1)]
        return StepCurves(
            self._best.estimates(self._records), self._mean.estimates(self._records), tuple(asked), self._records
        )
