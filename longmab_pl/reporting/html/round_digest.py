"""One round read for the page: curves and shares over all records, a row for each record, and a few whole records."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from longmab_pl.reporting.html.intervals import Estimate, RunningMean
from longmab_pl.reporting.html.pair_index import PairEntry, PairIndex
from longmab_pl.reporting.html.step_curves import StepCurves, StepCurveSums
from longmab_pl.reporting.rollout_trace import RolloutTrace, record_lift, rollout_trace
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.storage.append_log import read_rows

POSITIONS = 20
"""Number of equal parts of a document in which pulls are counted."""

MAX_ARMS = 2_000
"""Largest number of a record's arms that is drawn or counted."""


@dataclass(frozen=True)
class RecordRow:
    """A record in the table of all records."""

    id: str
    responses: int
    best: float | None
    mean: float | None
    pairs: int
    outcome: str


@dataclass(frozen=True)
class DrawnRecord:
    """A record that is shown whole: its rollout's row and its pair's row (empty: it has none)."""

    rollout: Mapping[str, Any]
    pair: Mapping[str, Any]


@dataclass
class RoundDigest:
    """What the page says of one round.

    Args:
        number: number of the round, from 1.
        complete: whether its pairs are made.
        records: a row for each of its records, in the file's order, at most as many as asked for.
        n_records: number of all of them.
        drawn: records that are shown whole.
        curves: rewards by step.
        reward, best: mean and best reward of a record, over records.
        chosen, rejected, margin: rewards of the pairs' answers.
        ranks: mean share of a record's pulls by arm, most pulled first.
        positions: share of pulls by part of the document [POSITIONS], mean over records; empty without arms.
        lift: how much more often than chance chunks that hold the answer are pulled.
        outcomes: number of records by what became of them.
        answers: number of answers.
        bandit: whether the steps are pulls.
        failures: reason by record that failed.
        exclusions: by reward, the number of answers without a score by reason.
    """

    number: int
    complete: bool = False
    records: list[RecordRow] = field(default_factory=list)
    n_records: int = 0
    drawn: list[DrawnRecord] = field(default_factory=list)
    curves: StepCurves = field(default_factory=StepCurves)
    reward: Estimate | None = None
    best: Estimate | None = None
    chosen: Estimate | None = None
    rejected: Estimate | None = None
    margin: Estimate | None = None
    ranks: list[float] = field(default_factory=list)
    positions: list[float] = field(default_factory=list)
    lift: Estimate | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    bandit: bool = False
    failures: Mapping[str, str] = field(default_factory=dict)
    exclusions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class _ArmSums:
    """Sums over records of where their pulls went."""

    def __init__(self) -> None:
        self.records = 0
        self._ranks: list[float] = []
        self._positions = [0.0] * POSITIONS
        self._lift = RunningMean()

    def add(self, trace: RolloutTrace) -> None:
        total = sum(trace.pulls)
        if not total or len(trace.pulls) > MAX_ARMS:
            return
        self.records += 1
        arms = len(trace.pulls)
        self._ranks += [0.0] * (arms - len(self._ranks))
        for rank, pulls in enumerate(sorted(trace.pulls, reverse=True)):
            self._ranks[rank] += pulls / total
        for arm, pulls in enumerate(trace.pulls):
            _spread(self._positions, arm / arms, (arm + 1) / arms, pulls / total)
        lift = record_lift(trace)
        if lift is not None:
            self._lift.add(lift)

    def into(self, digest: RoundDigest) -> None:
        if self.records:
            digest.ranks = [share / self.records for share in self._ranks]
            digest.positions = [share / self.records for share in self._positions]
            digest.lift = self._lift.estimate()
            digest.bandit = True


def _spread(parts: list[float], start: float, end: float, amount: float) -> None:
    """Add an amount evenly over [start, end) of equal parts of [0, 1)."""
    first, last = start * len(parts), end * len(parts)
    for part in range(int(first), min(int(last) + 1, len(parts))):
        overlap = min(last, part + 1) - max(first, part)
        if overlap > 0:
            parts[part] += amount * overlap / (last - first)


def read_round(store: RoundFolder, rows: int, draw: int) -> RoundDigest:
    """Read a round's files; of an unfinished one the records that are finished.

    Args:
        store: the round's folder.
        rows: largest number of records that are listed.
        draw: number of records that are shown whole; a quarter of them without a pair, if there are such.

    Raises:
        DataError: the round's summary is damaged.
    """
    digest = RoundDigest(store.number + 1, store.complete)
    if store.complete:
        summary = store.read_summary()
        digest.failures = dict(summary.get("failures") or ())
        digest.exclusions = summary.get("exclusions") or {}
    index = PairIndex(store)
    by_record: dict[str, list[PairEntry]] = {}
    for entry in index.entries:
        by_record.setdefault(entry.record_id, []).append(entry)
    chance = random.Random(store.number)
    paired = set(chance.sample(sorted(by_record), min(draw, len(by_record))))
    unpaired: list[Mapping[str, Any]] = []
    others = 0
    drawn: dict[str, Mapping[str, Any]] = {}
    curves, arms = StepCurveSums(), _ArmSums()
    reward, best = RunningMean(), RunningMean()
    for row in _rollouts(store):
        trace = rollout_trace(row)
        curves.add(trace)
        arms.add(trace)
        found = _record_row(row, trace, len(by_record.get(row["record_id"], ())))
        digest.n_records += 1
        digest.answers += found.responses
        digest.outcomes[found.outcome] += 1
        if len(digest.records) < rows:
            digest.records.append(found)
        if found.mean is not None and found.best is not None:
            reward.add(found.mean)
            best.add(found.best)
        if found.id in paired:
            drawn[found.id] = row
        elif found.id not in by_record and found.responses:
            others += 1  # algorithm R (Vitter 1985): each record without a pair is kept with the same chance
            if len(unpaired) < draw:
                unpaired.append(row)
            elif (place := chance.randrange(others)) < draw:
                unpaired[place] = row
    without = min(len(unpaired), max(draw // 4, draw - len(drawn)))
    for name in list(drawn)[: draw - without]:
        # The marked paths of a tree lead to its best and its worst answer.
        entry = max(by_record[name], key=lambda pair: pair.chosen_reward - pair.rejected_reward)
        digest.drawn.append(DrawnRecord(drawn[name], index.read(entry)))
    digest.drawn += [DrawnRecord(row, {}) for row in unpaired[:without]]
    digest.curves = curves.curves()
    arms.into(digest)
    digest.reward, digest.best = reward.estimate(), best.estimate()
    _pair_rewards(digest, index.entries)
    return digest


def _rollouts(store: RoundFolder) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of finished records; damaged ones are left out."""
    path = store.rollouts if store.rollouts.is_file() else store.rollout_log
    if not path.is_file():
        return
    for _, _, row in read_rows(path):
        if row is not None and isinstance(row.get("record_id"), str) and isinstance(row.get("responses"), list):
            yield row


def _record_row(row: Mapping[str, Any], trace: RolloutTrace, pairs: int) -> RecordRow:
    rewards = [reward for step in trace.rewards for reward in step if math.isfinite(reward)]
    return RecordRow(
        id=row["record_id"],
        responses=len(row["responses"]),
        best=max(rewards, default=None),
        mean=sum(rewards) / len(rewards) if rewards else None,
        pairs=pairs,
        outcome=outcome(row, pairs),
    )


def outcome(row: Mapping[str, Any], pairs: int) -> str:
    """Return in words what became of a record."""
    if row["status"] != "ok":
        return str(row["status"]).replace("_", " ")
    stopped = {"separated": "stopped: separated", "no_signal": "stopped: no signal"}.get(row["stopped"], "")
    if stopped:
        return stopped
    return "pair" if pairs else "no pair"


def _pair_rewards(digest: RoundDigest, entries: Sequence[PairEntry]) -> None:
    digest.chosen = RunningMean(entry.chosen_reward for entry in entries).estimate()
    digest.rejected = RunningMean(entry.rejected_reward for entry in entries).estimate()
    digest.margin = RunningMean(entry.chosen_reward - entry.rejected_reward for entry in entries).estimate()
