"""The fields of a rollout row that pictures and statistics read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.errors import DataError


@dataclass(frozen=True)
class RolloutTrace:
    """One record's rollout without its texts.

    Args:
        rewards: rewards of the responses of each step (pull of a bandit), in order.
        pulls: number of pulls of each arm; empty for a method without arms.
        evidence: whether each arm holds the answer, as long as `pulls`; empty where it is unknown.
    """

    rewards: tuple[tuple[float, ...], ...]
    pulls: tuple[int, ...] = ()
    evidence: tuple[bool, ...] = ()


def rollout_trace(row: Mapping[str, Any]) -> RolloutTrace:
    """Return the trace in a row of `rollouts.jsonl`."""
    by_step: dict[int, list[float]] = {}
    for response in row["responses"]:
        # The first reward is the one that strategies learn from and pairs compare.
        primary = next(iter(response["scores"].values()), None)
        known = by_step.setdefault(response["step"], [])
        if primary is not None and primary["excluded"] is None and math.isfinite(primary["value"]):
            known.append(primary["value"])
    rewards: list[tuple[float, ...]] = []
    for _, known in sorted(by_step.items()):
        if known or rewards:  # a step whose answers are all excluded keeps the last value, so that no later one moves
            rewards.append(tuple(known) or rewards[-1])
    trace = row["trace"]
    return RolloutTrace(
        rewards=tuple(rewards),
        pulls=tuple(trace.get("pulls", ())),
        evidence=tuple(map(bool, trace.get("evidence", ()))),
    )


def read_traces(folder: Path) -> list[RolloutTrace]:
    """Return the traces of a round's records that were rolled out without an error.

    Raises:
        DataError: the round's folder has no rollouts.
    """
    path = folder / "rollouts.jsonl"
    if not path.exists():
        raise DataError(f"{path} is missing: the report needs the run's rounds folder as the run left it")
    with path.open(encoding="utf-8") as file:
        return [rollout_trace(row) for row in map(json.loads, file) if row["status"] == "ok"]


def best_so_far(traces: Sequence[RolloutTrace]) -> list[float]:
    """Return, by step, the mean over all records of the best reward so far; a record that stopped keeps its best."""

    def best(trace: RolloutTrace, steps: int) -> float:
        return max(reward for rewards in trace.rewards[:steps] for reward in rewards)

    return _means_by_step(traces, best)


def mean_of_step(traces: Sequence[RolloutTrace]) -> list[float]:
    """Return, by step, the mean over all records of the step's mean reward; a record that stopped keeps its last."""

    def mean(trace: RolloutTrace, steps: int) -> float:
        rewards = trace.rewards[:steps][-1]
        return sum(rewards) / len(rewards)

    return _means_by_step(traces, mean)


def _means_by_step(traces: Sequence[RolloutTrace], value: Callable[[RolloutTrace, int], float]) -> list[float]:
    known = [trace for trace in traces if trace.rewards]
    longest = max((len(trace.rewards) for trace in known), default=0)
    return [sum(value(trace, steps) for trace in known) / len(known) for steps in range(1, longest + 1)]


def share_of_pulls_by_rank(traces: Sequence[RolloutTrace]) -> list[float]:
    """Return the mean share of pulls of a record's most pulled arm, its second, and so on."""
    armed = [trace for trace in traces if trace.pulls]
    shares: list[float] = []
    for trace in armed:
        total = max(sum(trace.pulls), 1)
        for rank, pulls in enumerate(sorted(trace.pulls, reverse=True)):
            shares.extend([0.0] * (rank + 1 - len(shares)))
            shares[rank] += pulls / total / len(armed)
    return shares


def evidence_lift(traces: Sequence[RolloutTrace]) -> float | None:
    """Return how much more often than by chance arms with the answer are pulled; None where the answer's arms are
    unknown."""
    lifts = [lift for trace in traces if (lift := record_lift(trace)) is not None]
    return sum(lifts) / len(lifts) if lifts else None


def record_lift(trace: RolloutTrace) -> float | None:
    """Return `evidence_lift` of one record; None where no arm or every arm holds the answer, or it is unknown."""
    gold, total = sum(trace.evidence), sum(trace.pulls)
    if not total or not 0 < gold < len(trace.pulls):
        return None
    share = sum(pulls for pulls, holds in zip(trace.pulls, trace.evidence, strict=True) if holds) / total
    return share / (gold / len(trace.pulls))
