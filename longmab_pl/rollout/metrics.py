"""The numbers of a round that a person watches."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from longmab_pl.pairs.types import PreferencePair
from longmab_pl.rewards.answer_match import extract_answer
from longmab_pl.strategies.base import RecordRollout


def pull_entropy(pulls: Sequence[int]) -> float:
    """Entropy of how the pulls were spread over the arms, as a share of its maximum: 1 is even, 0 a single arm."""
    total = sum(pulls)
    if total == 0 or len(pulls) < 2:
        return 0.0
    return -sum(n / total * math.log(n / total) for n in pulls if n) / math.log(len(pulls))


class RoundMetrics:
    """Adds up a round record by record, so that no record has to stay in memory for it."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)

    def add(self, rollout: RecordRollout, pairs: Sequence[PreferencePair]) -> None:
        """One record with the pairs that were made of it."""
        sums = self._sums
        sums["records"] += 1
        sums["usable"] += bool(pairs)
        sums["probe_rejected"] += rollout.status == "probe_rejected"
        sums["separated"] += rollout.stopped == "separated"
        sums["no_signal"] += rollout.stopped == "no_signal"
        for pair in pairs:
            sums["pairs"] += 1
            sums["chosen_reward"] += pair.chosen_reward
            sums["rejected_reward"] += pair.rejected_reward
            sums["margin"] += pair.chosen_reward - pair.rejected_reward
        if rollout.status != "ok":
            return
        sums["used"] += 1
        sums["entropy"] += pull_entropy(rollout.pulls)
        if rollout.responses:
            sums["answered"] += 1
            sums["best"] += max(r.reward for r in rollout.responses)
        for response in rollout.responses:
            sums["responses"] += 1
            sums["reward"] += response.reward
            sums["in_format"] += extract_answer(response.text) is not None
            sums["truncated"] += not response.ended

    def add_failures(self, count: int) -> None:
        """So many records that failed."""
        self._sums["failed"] += count

    def result(self) -> dict[str, float]:
        """Round statistics under the names they are logged by (rates in 0..1, rewards in 0..1)."""
        sums = self._sums
        records = sums["records"] + sums["failed"]

        def mean(name: str, count: str) -> float:
            return sums[name] / sums[count] if sums[count] else 0.0

        return {
            "rollout/records": float(records),
            "rollout/failed_records": float(sums["failed"]),
            "rollout/probe_rejected_rate": mean("probe_rejected", "records"),
            "rollout/responses": float(sums["responses"]),
            "rollout/reward": mean("reward", "responses"),
            "rollout/best_reward": mean("best", "answered"),
            "rollout/usable_pair_rate": sums["usable"] / max(records, 1),
            "rollout/usable_per_1000_responses": 1000 * mean("usable", "responses"),
            "rollout/separated_rate": mean("separated", "records"),
            "rollout/no_signal_rate": mean("no_signal", "records"),
            "rollout/answer_format_rate": mean("in_format", "responses"),
            "rollout/truncated_rate": mean("truncated", "responses"),
            "bandit/pull_entropy": mean("entropy", "used"),
            "pairs/count": float(sums["pairs"]),
            "pairs/chosen_reward": mean("chosen_reward", "pairs"),
            "pairs/rejected_reward": mean("rejected_reward", "pairs"),
            "pairs/margin": mean("margin", "pairs"),
        }
