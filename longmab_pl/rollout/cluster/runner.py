"""The driver of a rollout on a cluster: it hands records to workers, and those of a lost worker to another."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ray
from ray.exceptions import RayError, RayTaskError

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Engine
from longmab_pl.errors import ConfigError, EngineError, LongMabError
from longmab_pl.rollout.cluster.connection import HeadWatch
from longmab_pl.rollout.cluster.worker import GivenRecord, Job, Place, Report, Worker
from longmab_pl.rollout.journal import JOURNAL
from longmab_pl.rollout.runner import EngineFacts, Result
from longmab_pl.rollout.scheduler import Progress
from longmab_pl.shown import first_line, shown, tell
from longmab_pl.storage.append_log import read_fingerprint
from longmab_pl.strategies.base import RecordRollout

CHECK_SECONDS = 600.0
"""Seconds for which the processes of all workers may take to start and to check what they see."""

ROOM_SECONDS = 600.0
"""Seconds for which the cluster may have no room for new workers when none is left."""

SEEN_SECONDS = 10.0
"""Seconds for which a worker's file may take to be seen here (network file systems cache)."""

STOP_SECONDS = 60.0
"""Seconds for which the engines of all workers may take to stop."""

LOSSES = 3
"""Workers that may be lost one after the other in the same place without a finished record; then it stays empty."""


class _Lost(Exception):
    """A worker's process, node or engine has failed; the message says why."""


@dataclass(eq=False)
class _Hand:
    """A worker as the driver sees it.

    Args:
        slot: its place among the workers; a replacement has the place of the lost one.
        number: its own number in the round.
        actor: its handle.
        stage: the call that is under way.
        begun: when its process was asked for, monotonic seconds.
        host: host name of its node, "" until it has checked.
        held: the records that it has, by id.
        progress: its last report's.
        answered: responses and units of the records that it has finished.
    """

    slot: int
    number: int
    actor: Any
    stage: Literal["check", "start", "exchange"] = "check"
    begun: float = field(default_factory=time.monotonic)
    host: str = ""
    held: dict[str, GivenRecord] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    answered: Progress = field(default_factory=Progress)


class ClusterRunner:
    """A `RecordRunner` with workers on a Ray cluster, which is connected.

    A worker has at most the records that keep its engine full and a few in reserve, and never more than its share of
    those that are left. So a slow worker gets fewer records, and the driver holds only what the workers have. When a
    worker is lost, its records go to others together with its journal, and a new worker takes its place.

    Args:
        job: the round.
        engines: an engine for each worker, not started.
        gpus: GPUs of each worker.
        expected: number of records of the round.

    Raises:
        ConfigError: a worker does not start, does not see the run folder, or has no model.
        LongMabError: no engine starts.
    """

    def __init__(self, job: Job, engines: Sequence[Engine], gpus: float, expected: int) -> None:
        self.progress = Progress()
        self.facts: Mapping[str, EngineFacts] = {}
        self._job = job
        self._job_ref = ray.put(job)
        self._engines = engines
        self._gpus = gpus
        self._expected = expected
        active = max(job.max_live or engine.concurrency * 2 for engine in engines)
        self._most = active + max(2, active // 4)
        self._hands: list[_Hand] = []
        self._pending: dict[Any, _Hand] = {}  # one call of each worker is under way
        self._returned: deque[GivenRecord] = deque()  # records of lost workers
        self._losses = [0] * len(engines)
        self._past = Progress()  # counts of lost workers
        self._waiting: Iterator[QARecord | None] = iter(())
        self._exhausted = False  # whether all records have been read
        self._begun = 0
        self._done = 0
        self._head = HeadWatch()
        self._complete = False
        try:
            self._check()
            self._start()
        except BaseException:
            self.close()
            raise

    # the start

    def _check(self) -> None:
        """Let all workers check what they see, before any of them loads a model."""
        for slot in range(len(self._engines)):
            self._begin(slot)
        ready, late = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=CHECK_SECONDS)
        for ref in ready:
            hand = self._pending[ref]
            try:
                self._checked(hand, _value(ref))
            except _Lost as error:
                raise ConfigError(
                    f"worker {hand.number} does not start ({error}); every machine of the cluster needs the same "
                    "versions of longmab-pl, Ray and Python"
                ) from error
        if late:
            raise ConfigError(
                f"{len(late)} of {len(self._engines)} workers have not started within {CHECK_SECONDS:.0f} s; `ray "
                "status` says what the cluster waits for; lower --workers, or add machines"
            )

    def _begin(self, slot: int) -> None:
        """Make a worker in a place, and let it check what it sees."""
        actor = (
            ray.remote(Worker)
            .options(num_cpus=0, num_gpus=self._gpus, max_restarts=0, scheduling_strategy="SPREAD")
            .remote(self._job_ref, self._engines[slot], self._begun)
        )
        hand = _Hand(slot, self._begun, actor)
        self._begun += 1
        self._hands.append(hand)
        self._pending[actor.check.remote()] = hand

    def _checked(self, hand: _Hand, place: Place) -> None:
        """See that a worker's journal is here too."""
        hand.host = place.host
        path = self._job.store.worker_journal(hand.number)
        until = time.monotonic() + SEEN_SECONDS
        while read_fingerprint(path, JOURNAL) != self._job.fingerprint:
            if time.monotonic() > until:
                raise ConfigError(
                    f"what worker {hand.number} on {hand.host} writes into {path.parent} is not seen here; give "
                    "--output a folder on storage that all machines of the cluster share"
                )
            time.sleep(0.2)

    def _start(self) -> None:
        """Let all workers load their engines, and return when the first is ready."""
        checked, self._pending = self._pending, {}
        for hand in checked.values():
            self._load(hand)
        while not self.facts:
            for ref in self._answers():
                deque(self._heard(self._pending.pop(ref), ref))  # no worker has a record yet

    def _load(self, hand: _Hand) -> None:
        hand.stage = "start"
        self._pending[hand.actor.start.remote()] = hand

    # the rollout

    def run(self, records: Iterable[QARecord | None], on_progress: Callable[[Progress], None]) -> Iterator[Result]:
        self._waiting = iter(records)
        self._exhausted = False
        began = time.monotonic()
        while not (self._exhausted and not self._returned and not any(hand.held for hand in self._hands)):
            for ref in self._answers():
                yield from self._heard(self._pending.pop(ref), ref)
            self._refuse_endless_wait()
            self.progress = replace(self._counted(), started_at=began)
            on_progress(self.progress)
        self._complete = True

    def _refuse_endless_wait(self) -> None:
        """Raise an error if no worker works and the cluster has found no room for the new ones.

        Raises:
            EngineError: it has not within `ROOM_SECONDS`.
        """
        if any(hand.stage != "check" for hand in self._hands) or not self._hands:
            return
        if time.monotonic() - max(hand.begun for hand in self._hands) > ROOM_SECONDS:
            raise EngineError(
                f"no worker is left, and the cluster has had no room for a new one for {ROOM_SECONDS:.0f} s (`ray "
                f"status` says what it waits for)\nEverything finished so far is in {self._job.store.folder}: add "
                "machines, then run the same command again and it continues from there"
            )

    def _answers(self) -> list[Any]:
        """Wait for the answer to a call, for a second at most, and return those that are there.

        Raises:
            EngineError: the head of the cluster is gone.
        """
        self._head.check()
        ready, _ = ray.wait(list(self._pending), num_returns=1, timeout=1.0)
        return list(ready)

    def _heard(self, hand: _Hand, ref: Any) -> Iterator[Result]:
        """Take the answer to a worker's call, and call it again."""
        try:
            if hand.stage == "check":
                self._replace(hand, ref)
                return
            answer = _value(ref)
            if hand.stage == "start":
                self._started(hand, answer)
            else:
                yield from self._reported(hand, answer)
            self._exchange(hand)
        except (_Lost, EngineError) as error:
            self._lose(hand, first_line(error))

    def _replace(self, hand: _Hand, ref: Any) -> None:
        """Let a new worker in a lost one's place load its engine; one that sees no model or folder is lost too."""
        try:
            self._checked(hand, _value(ref))
        except ConfigError as error:
            raise _Lost(str(error)) from error
        self._load(hand)

    def _started(self, hand: _Hand, facts: dict[str, EngineFacts]) -> None:
        hand.stage = "exchange"
        self.facts = self.facts or facts
        if facts != self.facts:
            raise ConfigError(
                f"worker {hand.number} on {hand.host} has engines of other limits than the first, {facts} and not "
                f"{dict(self.facts)}, so its prompts would differ; set engine.max_model_len"
            )

    def _reported(self, hand: _Hand, report: Report) -> Iterator[Result]:
        hand.progress = report.progress
        for key, result in report.finished:
            del hand.held[key]
            self._done += 1
            self._losses[hand.slot] = 0
            if isinstance(result, RecordRollout):
                hand.answered.units += result.units
                hand.answered.responses += result.asked
            yield key, result
        if report.failure is not None:
            raise report.failure

    def _exchange(self, hand: _Hand) -> None:
        """Give a worker its share of the records that are left, and wait for its next report."""
        left = max(self._expected - self._done, 1 + sum(len(other.held) for other in self._hands))
        share = min(self._most, math.ceil(left / len(self._engines)))
        given: list[GivenRecord] = []
        while len(hand.held) < share and (one := self._next()) is not None:
            hand.held[one.record.id] = one
            given.append(one)
        self._pending[hand.actor.exchange.remote(given)] = hand

    def _next(self) -> GivenRecord | None:
        """Return a record that nobody has; None: there is none, or not now."""
        if self._returned:
            return self._returned.popleft()
        try:
            record = next(self._waiting)
        except StopIteration:
            self._exhausted = True
            return None
        return None if record is None else GivenRecord(record)

    def _lose(self, hand: _Hand, reason: str) -> None:
        """Give up a worker: its records are for others, with its journal, and a new worker takes its place.

        Raises:
            EngineError: no worker is left.
        """
        with contextlib.suppress(RayError):
            ray.kill(hand.actor)
        self._hands.remove(hand)
        answered = hand.answered
        self._past = _added(
            self._past, replace(hand.progress, units=answered.units, responses=answered.responses, in_flight=0)
        )
        journal = self._job.store.worker_journal(hand.number)
        self._returned += [replace(one, journals=(*one.journals, journal)) for one in hand.held.values()]
        where = f"worker {hand.number}" + (f" on {hand.host}" if hand.host else "")
        tell(f"{where} is lost ({reason}); its {len(hand.held)} records go to others")
        self._losses[hand.slot] += 1
        if self._losses[hand.slot] <= LOSSES:
            self._begin(hand.slot)
        elif not self._hands:
            raise EngineError(
                f"no worker is left: {reason}\nEverything finished so far is in {self._job.store.folder}: when the "
                "cause is fixed, run the same command again and it continues from there"
            )

    def _counted(self) -> Progress:
        """Return the counts of all workers together."""
        total = self._past
        for hand in self._hands:
            total = _added(total, hand.progress)
        return total

    def close(self) -> None:
        """Stop all workers: engines and journals are closed if the round is complete, else the processes are killed
        (their journals are taken over by the next start)."""
        actors = [hand.actor for hand in self._hands]
        self._hands.clear()
        self._pending.clear()
        if self._complete:
            with contextlib.suppress(RayError):
                ray.wait([actor.stop.remote() for actor in actors], num_returns=len(actors), timeout=STOP_SECONDS)
        for actor in actors:
            with contextlib.suppress(RayError):
                ray.kill(actor)


def _value(ref: Any) -> Any:
    """Return the answer to a worker's call.

    Raises:
        LongMabError: the worker raised it.
        _Lost: the worker's process or node has ended.
    """
    try:
        return ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, LongMabError):
            raise error.cause from None
        raise
    except RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # What ended the making of an actor is at the end of the traceback in the message.
        told = lines[-1] if "creation task" in lines[0] else lines[0]
        raise _Lost(shown(told, 300)) from error


def _added(one: Progress, other: Progress) -> Progress:
    return Progress(
        one.responses + other.responses,
        one.units + other.units,
        one.replayed + other.replayed,
        one.tokens + other.tokens,
        one.prompt_tokens + other.prompt_tokens,
        one.cached_tokens + other.cached_tokens,
        one.records_done + other.records_done,
        one.in_flight + other.in_flight,
    )
