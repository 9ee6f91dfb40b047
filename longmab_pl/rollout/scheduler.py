"""One scheduler drives every record's strategy against the run's engines and keeps each of them full."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.engines.protocol import POLICY, Completion, Engine, R, Request, RequestStream
from longmab_pl.errors import ConfigError, DataError, EngineError, LongMabError, PromptTooLong
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.worker_thread import WorkerThread


@dataclass
class Progress:
    """What a progress display needs; updated in place by the scheduler. `responses` counts the policy's alone."""

    responses: int = 0
    replayed: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    records_done: int = 0
    in_flight: int = 0
    started_at: float = field(default_factory=time.monotonic)

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second of this process (replayed completions do not count)."""
        return self.tokens / max(time.monotonic() - self.started_at, 1e-9)


@dataclass(eq=False)
class _ActiveRecord:
    """A record at work. `number` counts the records in the order in which they were admitted."""

    number: int
    key: str
    stream: RequestStream[Any]
    awaited: list[str] = field(default_factory=list)
    answers: dict[str, Completion] = field(default_factory=dict)
    answered: int = 0


@dataclass(eq=False)
class _Lane:
    """One engine with the requests that wait for it: a heap of (answers so far, record, order, record, request)."""

    engine: Engine
    awake: bool
    queue: list[tuple[int, int, int, _ActiveRecord, Request]] = field(default_factory=list)
    in_flight: int = 0
    """Responses that the engine works on."""

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.engine.concurrency


@dataclass(frozen=True, eq=False)
class _Finished:
    """Completions of one poll, on their way to the disk."""

    ticket: int
    answered: list[tuple[_ActiveRecord, Completion]]


@dataclass(eq=False)
class _Resumed:
    """How far a strategy came: it waits for engines to answer `asked`, or it is `ended` with `result`."""

    record: _ActiveRecord
    asked: list[Request] = field(default_factory=list)
    ended: bool = False
    result: Any = None
    replayed: int = 0


_ANSWERED, _FRESH = 0, 1
"""Urgencies in the strategies' thread: records under way before new ones."""

_PATIENCE = 0.1
"""Seconds for which engines with room wait for a strategy's next request before they go on with what they have."""


class Scheduler:
    """Runs strategies, one generator per record, each independent of the others: no barrier between their steps.

    Whenever an engine has room, the oldest record that waits for it goes first: so no more records are under way than
    fill the engines, they find their prefixes in the cache, and they leave memory soonest. When no new record is left,
    the one with the fewest answers goes first: a record's answers come one after the other, so the one with the longest
    way to go decides when the rollout ends.

    While engines step, strategies work in a thread of their own (one at a time) and the disk in another.

    Args:
        engines: started engines by the names to which requests are addressed; `policy` is one of them.
        journal: completions already known, and where new ones go before they are used; None keeps no journal.
        max_live: records at work at once. It bounds memory and keeps records in flight from evicting each other's
            prefixes. None is twice what fills the policy's engine: one half is under way, the other has its first
            prompt ready and still has its whole way to go when the last records are admitted, which keeps the engine
            full to the end.
        taking_turns: names of engines that share a device. One of them is awake at a time (at first the policy's); it
            goes to sleep when nothing that waits for it is left, so that nothing in flight is thrown away.
        on_progress: called after every poll.

    Raises:
        ConfigError: `max_live` is below 1, or there is no engine for the policy.

    Example:
        >>> scheduler = Scheduler({"policy": engine}, Journal(path, fingerprint))
        >>> for record_id, rollout in scheduler.run((r.id, strategy.roll(r, context)) for r in records): ...
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        journal: Journal | None = None,
        *,
        max_live: int | None = None,
        taking_turns: Collection[str] = (),
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        at_least("max_live_records", max_live, 1, or_null=True)
        if POLICY not in engines:
            raise ConfigError(f"there is no engine for the policy among {', '.join(engines) or 'none'}")
        self._lanes = {name: _Lane(e, name == POLICY or name not in taking_turns) for name, e in engines.items()}
        self._taking_turns = [self._lanes[name] for name in engines if name in taking_turns]
        self.journal = journal
        self.max_live = max_live or engines[POLICY].concurrency * 2
        self.on_progress = on_progress
        self.progress = Progress()
        self._admitted = 0
        self._next: tuple[str, RequestStream[Any]] | None = None  # the task to begin next
        self._exhausted = False  # there are no more tasks
        self._ending = False  # all that are left are at work
        self._active: dict[str, _ActiveRecord] = {}
        self._queued = 0
        self._in_flight: dict[str, tuple[_ActiveRecord, Request]] = {}
        self._thread: WorkerThread[_Resumed] = WorkerThread()
        self._finished: deque[_Finished] = deque()

    def run(self, tasks: Iterable[tuple[str, RequestStream[R]] | None]) -> Iterator[tuple[str, R | LongMabError]]:
        """Yield `(key, result)` as records finish, in any order; an error of one record is its result.

        Args:
            tasks: `(key, generator)` pairs, consumed lazily: a record's generator is made when there is room for it.
                Keys are unique among the records that are at work at the same time. None in place of a pair means "not
                now": asked again when the records at work, of which there must be one, have got on.

        Raises:
            EngineError: an engine itself failed. Everything finished by then is in the journal.
            LongMabError: the journal cannot be written.
        """
        waiting = iter(tasks)
        try:
            while self._active or self._next or not self._exhausted:
                self._admit(waiting)
                yield from self._drain(0)
                self._pass_turn()
                yield from self._submit()
                if self._has_room() and self._thread.unfinished:
                    progressed = yield from self._drain(_PATIENCE if self._in_flight else None)
                    if not progressed:
                        self._poll()
                elif self._has_room() and self._finished:
                    # Only the answers on their way to the disk can give the engines work.
                    self._use(self._finished.popleft())
                elif self._in_flight:
                    self._poll()
        finally:
            # Left early (error, Ctrl-C, a consumer that stops): nothing must keep generating for nobody.
            if self._in_flight:
                self._in_flight.clear()
                for lane in self._lanes.values():
                    if lane.in_flight:
                        with contextlib.suppress(EngineError):  # of an engine that is broken anyway
                            lane.engine.abort()
            self._thread.close()
            for record in self._active.values():
                record.stream.close()
            if self._next:
                self._next[1].close()

    def _admit(self, waiting: Iterator[tuple[str, RequestStream[R]] | None]) -> None:
        """Begin new records while there is room for them; one is held ready, to know in time that it is the last."""
        while True:
            if self._next is None and not self._exhausted:
                try:
                    self._next = next(waiting)
                except StopIteration:
                    self._exhausted = True
            if self._next is None:
                self._last_records()
                return
            if len(self._active) >= self.max_live:
                return
            (key, stream), self._next = self._next, None
            if key in self._active:
                raise DataError(f"two records have the id {key!r}; ids must be unique")
            record = self._active[key] = _ActiveRecord(self._admitted, key, stream)
            self._admitted += 1
            self._thread.put(partial(self._advance, record, None), _FRESH)

    def _last_records(self) -> None:
        """From now on the record with the fewest answers goes first."""
        if not self._ending:
            self._ending = True
            for lane in self._lanes.values():
                lane.queue = [(record.answered, a, b, record, request) for _, a, b, record, request in lane.queue]
                heapq.heapify(lane.queue)

    def _has_room(self) -> bool:
        """Whether no engine that is awake is full."""
        return all(lane.has_room for lane in self._lanes.values() if lane.awake)

    def _may_submit(self, lane: _Lane) -> bool:
        return lane.awake and lane.has_room

    def _pass_turn(self) -> None:
        """Wake the next engine of those that share a device when the one that is awake has run out of work."""
        if self._thread.unfinished or self._finished:
            return  # what strategies make of these answers may be for the engine that is awake
        awake = next((lane for lane in self._taking_turns if lane.awake), None)
        following = next((lane for lane in self._taking_turns if lane.queue and not lane.awake), None)
        if following is None or (awake and (awake.in_flight or awake.queue)):
            return
        if awake:
            awake.engine.sleep()
            awake.awake = False
        following.engine.wake()
        following.awake = True

    def _enqueue(self, record: _ActiveRecord, request: Request) -> None:
        self._queued += 1
        behind = record.answered if self._ending else 0
        heapq.heappush(self._lanes[request.to].queue, (behind, record.number, self._queued, record, request))

    def _submit(self) -> Iterator[tuple[str, LongMabError]]:
        for lane in self._lanes.values():
            while lane.queue and self._may_submit(lane):
                *_, record, request = heapq.heappop(lane.queue)
                if self._active.get(record.key) is not record:
                    continue  # its record has failed on a sibling request
                try:
                    lane.engine.submit(request)
                except PromptTooLong as e:
                    record.stream.close()
                    yield self._done(record, e)
                    continue
                except EngineError as e:
                    raise self._resumable(e) from e
                self._in_flight[request.id] = (record, request)
                lane.in_flight += request.n
        self.progress.in_flight = sum(lane.in_flight for lane in self._lanes.values())

    def _poll(self) -> None:
        """Let the engines work, and hand on what they have finished."""
        for lane in self._lanes.values():
            if not lane.in_flight:
                continue
            try:
                completions = lane.engine.poll()
            except EngineError as e:
                raise self._resumable(e) from e
            self._finish(lane, completions)
        while self._finished and (self.journal is None or self.journal.is_durable(self._finished[0].ticket)):
            self._use(self._finished.popleft())
        if self.on_progress:
            self.on_progress(self.progress)

    def _resumable(self, error: EngineError) -> EngineError:
        """Return the engine's own words, and that nothing finished is lost."""
        if self.journal is None:
            return error
        return EngineError(
            f"{error}\nEverything finished so far is in {self.journal.path}: when the cause is fixed, run the same "
            "command again and it continues from there (a training run in a later round: with --ckpt_path "
            "<run>/checkpoints/last.ckpt)."
        )

    def _finish(self, lane: _Lane, completions: list[Completion]) -> None:
        """Hand finished completions to the journal; nothing is decided from them before they are durable.

        The engine goes on meanwhile, so that it does not stand still for the disk at every answer.
        """
        if not completions:
            return
        answered = []
        for completion in completions:
            if completion.request_id not in self._in_flight:
                raise EngineError(f"the engine answered a request that is not in flight: {completion.request_id!r}")
            record, request = self._in_flight.pop(completion.request_id)
            lane.in_flight -= request.n
            answered.append((record, request, completion))
            self.progress.responses += request.n if request.to == POLICY else 0
            self.progress.tokens += sum(completion.completion_tokens)
            self.progress.prompt_tokens += completion.prompt_tokens
            self.progress.cached_tokens += completion.cached_tokens
        ticket = 0
        if self.journal is not None:
            ticket = self.journal.write((request, completion) for _, request, completion in answered)
        self._finished.append(_Finished(ticket, [(record, completion) for record, _, completion in answered]))

    def _use(self, finished: _Finished) -> None:
        """Give answers to their strategies, as soon as they are durable."""
        if self.journal is not None:
            self.journal.wait(finished.ticket)
        for record, completion in finished.answered:
            if self._active.get(record.key) is not record:
                continue  # its record failed on a sibling request; the completion is in the journal all the same
            record.answers[completion.request_id] = completion
            if len(record.answers) == len(record.awaited):
                answers = [record.answers[i] for i in record.awaited]
                self._thread.put(partial(self._advance, record, answers), _ANSWERED)

    def _advance(self, record: _ActiveRecord, answers: list[Completion] | None) -> _Resumed:
        """In the strategies' thread: resume one until it waits for an engine or ends; what the journal knows it gets
        at once."""
        step = _Resumed(record)
        while True:
            record.answered += len(answers or ())
            try:
                requests = next(record.stream) if answers is None else record.stream.send(answers)
                self._check(record, requests)
            except StopIteration as stop:
                step.ended, step.result = True, stop.value
                return step
            except LongMabError as e:
                record.stream.close()
                step.ended, step.result = True, e
                return step
            record.awaited = [r.id for r in requests]
            record.answers = {}
            for request in requests:
                known = self.journal.get(request) if self.journal is not None else None
                if known is None:
                    step.asked.append(request)
                else:
                    record.answers[request.id] = known
                    step.replayed += request.n if request.to == POLICY else 0
            if step.asked:
                return step
            answers = [record.answers[i] for i in record.awaited]

    def _check(self, record: _ActiveRecord, requests: Sequence[Request]) -> None:
        if len({request.id for request in requests}) < len(requests):
            raise ConfigError(f"record {record.key!r}: two requests of one step have the same id; ids must be unique")
        for request in requests:
            if request.to not in self._lanes:
                raise ConfigError(
                    f"request {request.id!r} is for an engine named {request.to!r}, and the run has "
                    f"{', '.join(self._lanes)}; add it to data.engines"
                )

    def _drain(self, patience: float | None) -> Generator[tuple[str, Any], None, bool]:
        """Take over what strategies have come to since, and return whether there was any.

        Args:
            patience: seconds to wait for the first one; None: as long as it takes.
        """
        step = self._thread.take(patience)
        progressed = step is not None
        while step is not None:
            self.progress.responses += step.replayed
            self.progress.replayed += step.replayed
            for request in step.asked:
                self._enqueue(step.record, request)
            if step.ended:
                yield self._done(step.record, step.result)
            step = self._thread.take(0)
        return progressed

    def _done(self, record: _ActiveRecord, result: R) -> tuple[str, R]:
        del self._active[record.key]
        self.progress.records_done += 1
        return record.key, result
