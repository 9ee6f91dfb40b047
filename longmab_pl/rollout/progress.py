"""The rollout's progress bar: answers (or nodes, or blocks), speed, finished records and the mean reward so far."""

from __future__ import annotations

from longmab_pl.live import Bar
from longmab_pl.rollout.scheduler import Progress
from longmab_pl.strategies.base import RecordRollout


class RolloutBar:
    """The progress bar of a round.

    Args:
        title: text before the bar.
        records: number of records.
        expected: maximum number of units of one record.
        primary: name of the reward whose mean is shown.
        unit: what is counted, `Strategy.progress_unit`.
        beside: number of questions that are asked beside the rollout.
    """

    def __init__(
        self, title: str, records: int, expected: int, primary: str, unit: str = "answers", beside: int = 0
    ) -> None:
        self.primary = primary
        self.records = records
        self.expected = expected
        self._bar = Bar(title, records * expected, unit)
        self._beside = beside
        self._done = 0
        self._before = 0  # units of an earlier process
        self._rewards = [0.0, 0]

    def admit(self) -> None:
        """Add one record to the expected total."""
        self.records += 1
        self._bar.total += self.expected

    def finished(self, rollout: RecordRollout | None) -> None:
        """Count a finished record (None: it failed); the bar no longer expects the rest of its units."""
        self._done += 1
        self._bar.total -= self.expected - (0 if rollout is None else rollout.units)
        if rollout is not None:
            scores = [r.scores[self.primary] for r in rollout.responses if self.primary in r.scores]
            values = [score.value for score in scores if score.excluded is None]
            self._rewards[0] += sum(values)
            self._rewards[1] += len(values)

    def skip(self, units: int) -> None:
        """Count units that are known already and not requested again."""
        self._before += units
        self._bar.update(units)

    def show(self, progress: Progress) -> None:
        """Show the scheduler's current state."""
        total, count = self._rewards
        mean = f", mean reward {total / count:.3f}" if count else ""
        beside = f", evaluation {progress.beside_done} of {self._beside} questions" if self._beside else ""
        speed = f"{progress.tokens_per_second:.0f} tokens/s"
        note = f"{self._done} of {self.records} records finished{mean}{beside}, {speed}"
        self._bar.update(self._before + progress.units - self._bar.done, note)

    def complete(self) -> None:
        """Fill the bar at the end, also if records took fewer units than expected."""
        self._bar.total = self._bar.done

    def close(self) -> None:
        self._bar.close()
