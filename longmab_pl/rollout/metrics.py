"""The logged metrics of a round."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from longmab_pl.pairs.types import PreferencePair
from longmab_pl.strategies.base import RecordRollout


class RoundMetrics:
    """Metrics of a round, summed record by record, so that no record has to stay in memory.

    Args:
        primary: name of the reward whose values are averaged.
        describe: returns the named values of a trace (`Strategy.describe`); None: traces are left out.
    """

    def __init__(self, primary: str, describe: Callable[[RecordRollout], Mapping[str, float]] | None = None) -> None:
        self._primary = primary
        self._describe = describe
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._skipped: Counter[str] = Counter()
        self._excluded: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._described: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # sum, count

    def add(self, rollout: RecordRollout, pairs: Sequence[PreferencePair]) -> None:
        """Add one record with its pairs."""
        sums = self._sums
        sums["records"] += 1
        sums["usable"] += bool(pairs)
        sums["asked"] += rollout.asked
        sums["separated"] += rollout.stopped == "separated"
        sums["no_signal"] += rollout.stopped == "no_signal"
        if self._describe is not None:
            for name, value in self._describe(rollout).items():
                self._mean_of(name, value)
        for pair in pairs:
            sums["pairs"] += 1
            sums["chosen_reward"] += pair.chosen_reward
            sums["rejected_reward"] += pair.rejected_reward
            sums["margin"] += pair.chosen_reward - pair.rejected_reward
        values = []
        for response in rollout.responses:
            sums["responses"] += 1
            sums["truncated"] += not response.finished
            for name, score in response.scores.items():
                self._mean_of(f"reward/{name}/excluded_rate", float(score.excluded is not None))
                if score.excluded is not None:
                    self._excluded[name][score.excluded] += 1
                else:
                    for part, value in score.parts.items():
                        self._mean_of(f"reward/{name}/{part}", value)
                    if name == self._primary:
                        values.append(score.value)
        sums["scored"] += len(values)
        sums["reward"] += sum(values)
        if values:
            sums["answered"] += 1
            sums["best"] += max(values)

    def _mean_of(self, name: str, value: float) -> None:
        self._described[name][0] += value
        self._described[name][1] += 1

    def skip(self, reason: str) -> None:
        """Count a record from which the pair rule made no pair, by reason."""
        self._skipped[reason] += 1

    def add_failures(self, count: int) -> None:
        """Add a number of failed records."""
        self._sums["failed"] += count

    def exclusions(self) -> dict[str, dict[str, int]]:
        """Return, by reward, the reasons why responses have no score, with their numbers, most frequent first."""
        return {name: dict(reasons.most_common(20)) for name, reasons in sorted(self._excluded.items())}

    def result(self) -> dict[str, float]:
        """Return the round's metrics by their logged names (rates and rewards in 0..1).

        `rollout/responses` counts answers, `rollout/asked` all requested responses of the policy (probes too). Then
        follow the records that the pair rule skipped, by reason (`pairs/skipped_<reason>`), and, by name, the means of
        the strategy's described values and of every reward's parts (`reward/<name>/<part>`).
        """
        sums = self._sums
        records = sums["records"] + sums["failed"]

        def mean(name: str, count: str) -> float:
            return sums[name] / sums[count] if sums[count] else 0.0

        return {
            "rollout/records": float(records),
            "rollout/failed_records": float(sums["failed"]),
            "rollout/responses": float(sums["responses"]),
            "rollout/asked": float(sums["asked"]),
            "rollout/reward": mean("reward", "scored"),
            "rollout/best_reward": mean("best", "answered"),
            "rollout/usable_pair_rate": sums["usable"] / max(records, 1),
            "rollout/usable_per_1000_responses": 1000 * mean("usable", "responses"),
            "rollout/separated_rate": mean("separated", "records"),
            "rollout/no_signal_rate": mean("no_signal", "records"),
            "rollout/truncated_rate": mean("truncated", "responses"),
            "pairs/count": float(sums["pairs"]),
            "pairs/chosen_reward": mean("chosen_reward", "pairs"),
            "pairs/rejected_reward": mean("rejected_reward", "pairs"),
            "pairs/margin": mean("margin", "pairs"),
            **{f"pairs/skipped_{reason}": float(count) for reason, count in sorted(self._skipped.items())},
            **{name: total / count for name, (total, count) in sorted(self._described.items())},
        }
