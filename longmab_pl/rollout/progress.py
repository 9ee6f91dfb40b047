"""The rollout's progress bar: answers, speed, finished records and the mean reward so far."""

from __future__ import annotations

from tqdm.auto import tqdm

from longmab_pl.rollout.scheduler import Progress
from longmab_pl.strategies.base import RecordRollout


class RolloutBar:
    """A round's bar.

    Args:
        title: stands before the bar.
        records: how many there are.
        expected: responses that one record asks for at most.
        primary: name of the reward whose mean is shown.
    """

    def __init__(self, title: str, records: int, expected: int, primary: str) -> None:
        self.primary = primary
        self.records = records
        self.expected = expected
        self._bar = tqdm(total=records * expected, desc=title, unit="resp", dynamic_ncols=True)
        self._done = 0
        self._before = 0  # responses that an earlier process had
        self._rewards = [0.0, 0]

    def let_in(self) -> None:
        """One record more than there were."""
        self.records += 1
        self._bar.total += self.expected

    def finished(self, rollout: RecordRollout | None, asked: int) -> None:
        """A record is done (None: it failed) after so many responses; what it did not ask for is no longer expected."""
        self._done += 1
        self._bar.total -= self.expected - asked
        if rollout is not None:
            scores = [r.scores[self.primary] for r in rollout.responses if self.primary in r.scores]
            values = [score.value for score in scores if score.excluded is None]
            self._rewards[0] += sum(values)
            self._rewards[1] += len(values)

    def skip(self, responses: int) -> None:
        """So many responses need not be asked for: they are known."""
        self._before += responses
        self._bar.update(responses)

    def show(self, progress: Progress) -> None:
        """The scheduler's state now."""
        self._bar.update(self._before + progress.responses - self._bar.n)
        total, count = self._rewards
        mean = f"{total / count:.3f}" if count else "-"
        self._bar.set_postfix_str(
            f"{progress.tokens_per_second:.0f} tok/s, {self._done}/{self.records} records, reward {mean}"
        )

    def complete(self) -> None:
        """Everything is done: the bar is full, also where records asked for less than expected."""
        self._bar.total = self._bar.n
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()
