"""Which records a round asks first: in shuffled order, or those that the policy gets right about half of the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from longmab_pl.data.records import QARecord
from longmab_pl.errors import DataError
from longmab_pl.rewards.answer_match import ROUNDING
from longmab_pl.rollout.rollout_log import RolloutFile
from longmab_pl.rollout.round_folder import ROUNDS, RoundFolder
from longmab_pl.strategies.base import RecordRollout

RecordOrder = Literal["shuffled", "curriculum"]
RECORD_ORDERS: tuple[RecordOrder, ...] = ("shuffled", "curriculum")

BEFORE = "before"
"""Key of a round's settings: fingerprint of the round before it, whose pass rates ordered its records."""

_UNSEEN = 0.25
"""Distance from a pass rate of 1/2 at which records without a pass rate are placed."""


def pass_rate(rollout: RecordRollout, reward: str, pass_value: float) -> float | None:
    """Return the share of a record's scored responses whose value is at least `pass_value`.

    Args:
        rollout: the record's responses; a record that was dropped without any (a rejected probe) has rate 0.
        reward: name of the reward.
        pass_value: value from which a response passes.

    Returns:
        The rate in [0, 1]; None if no response has a score.
    """
    if rollout.status != "ok":
        return 0.0
    scores = [response.scores[reward] for response in rollout.responses if reward in response.scores]
    values = [score.value for score in scores if score.excluded is None]
    return sum(value >= pass_value - ROUNDING for value in values) / len(values) if values else None


def last_pass_rates(before: RoundFolder | None, reward: str, pass_value: float) -> dict[str, float]:
    """Return the last pass rate of every record that a round or its predecessors asked, by the record's id.

    Args:
        before: the latest round, complete; its settings name the round before it. None: no rates.
        reward: as for `pass_rate`.
        pass_value: as for `pass_rate`.

    Raises:
        DataError: a round is not complete, or its files are damaged.
    """
    rates: dict[str, float] = {}
    while before is not None:
        damage = before.damage() if before.complete else f"{before.summary} is missing"
        if damage is not None:
            raise DataError(
                f"{damage}; data.records: curriculum needs the responses of earlier rounds. Make that round again, or "
                "set data.records: shuffled"
            )
        rollouts = RolloutFile(before.rollouts)
        for record_id in rollouts:
            if record_id not in rates:
                rate = pass_rate(rollouts.read(record_id), reward, pass_value)
                if rate is not None:
                    rates[record_id] = rate
        fingerprint = before.read_settings().get(BEFORE)
        before = RoundFolder(before.run_folder, before.number - 1, fingerprint) if fingerprint else None
    return rates


def by_pass_rate(records: Sequence[QARecord], rates: Mapping[str, float]) -> list[QARecord]:
    """Return records by the distance of their last pass rate from 1/2: solved and hopeless ones last.

    Records without a rate stand where a rate of 1/4 or 3/4 does, after those. Equal ones keep their order.

    Example:
        >>> from longmab_pl.data.records import QARecord
        >>> records = [QARecord(name, "?", ("x",), "Text.") for name in ("solved", "new", "half", "hopeless")]
        >>> [r.id for r in by_pass_rate(records, {"solved": 1.0, "half": 0.5, "hopeless": 0.0})]
        ['half', 'new', 'solved', 'hopeless']
    """

    def distance(record: QARecord) -> tuple[float, bool]:
        rate = rates.get(record.id)
        return (_UNSEEN, True) if rate is None else (abs(rate - 0.5), False)

    return sorted(records, key=distance)


def round_before(run_folder: Path, number: int) -> RoundFolder | None:
    """Return the complete round before a round, if the run folder has one.

    Args:
        run_folder: run folder.
        number: number of the round, from 0.

    Raises:
        DataError: it has several, made with different settings.
    """
    folders = sorted((run_folder / ROUNDS).glob(f"{number - 1:03d}-*")) if number else []
    found = [store for store in map(RoundFolder.at, folders) if store.complete]
    if len(found) > 1:
        raise DataError(
            f"{run_folder} has round {number} with {len(found)} settings ({', '.join(s.folder.name for s in found)}), "
            "and data.records: curriculum needs one; remove the others, or set data.records: shuffled"
        )
    return found[0] if found else None
