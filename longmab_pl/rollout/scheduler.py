"""The scheduler, which runs every record's strategy against the run's engines and keeps the engines full."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.engines.protocol import POLICY, Completion, Engine, R, Request, RequestStream
from longmab_pl.errors import BudgetUsedUp, ConfigError, DataError, EngineError, LongMabError, PromptTooLong
from longmab_pl.rollout.account import EngineAccount, content_key
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.worker_thread import WorkerThread


@dataclass
class Progress:
    """Values for a progress display, updated in place by the scheduler. `responses` counts the policy's only, `units`
    are those of the strategy (`Request.progress`)."""

    responses: int = 0
    units: int = 0
    replayed: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    records_done: int = 0
    in_flight: int = 0
    beside_done: int = 0
    """Streams beside the rollout that have ended."""
    started_at: float = field(default_factory=time.monotonic)

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second of this process (replayed completions do not count)."""
        return self.tokens / max(time.monotonic() - self.started_at, 1e-9)


@dataclass(frozen=True)
class BesideRollout:
    """Requests to the policy that a rollout's engine answers in the room that the rollout leaves.

    Args:
        streams: they keep their own answers: these go to no journal, and an error ends its stream only. A stream whose
            prompt is too long gets `PromptTooLong`.
        total: number of streams.
    """

    streams: Iterable[RequestStream[None]] = ()
    total: int = 0


NOTHING_BESIDE = BesideRollout()


@dataclass(eq=False)
class _ActiveRecord:
    """An active record, or a stream beside the rollout. `number` counts the records in the order in which they were
    admitted."""

    number: int
    key: str
    stream: RequestStream[Any]
    awaited: list[str] = field(default_factory=list)
    answers: dict[str, Completion] = field(default_factory=dict)
    answered: int = 0
    is_beside: bool = False
    unused: list[Completion] | None = None
    """Answers that its strategy has not received yet."""


@dataclass(eq=False)
class _Lane:
    """One engine with its waiting requests: a heap of (answers so far, record, order, record, request)."""

    engine: Engine
    awake: bool
    queue: list[tuple[int, int, int, _ActiveRecord, Request]] = field(default_factory=list)
    in_flight: int = 0
    """Number of responses that the engine is generating."""

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.engine.concurrency


@dataclass(frozen=True, eq=False)
class _Finished:
    """Completions of one poll that are being written to disk."""

    ticket: int
    answered: list[tuple[_ActiveRecord, Completion]]


@dataclass(eq=False)
class _Resumed:
    """State of a strategy after a step: it waits for answers to `asked`, or has `ended` with `result`."""

    record: _ActiveRecord
    asked: list[Request] = field(default_factory=list)
    ended: bool = False
    result: Any = None
    replayed: int = 0
    units: int = 0


_ANSWERED, _FRESH, _BESIDE = 0, 1, 2
"""Priorities in the strategies' thread, lowest first: active records before new ones, and what is beside them last."""

_PATIENCE = 0.1
"""Seconds for which engines with room wait for a strategy's next request before they continue."""


class Scheduler:
    """A scheduler of strategies, one generator per record, without barriers between their steps.

    When an engine has room, the oldest record that waits for it goes first. So there are no more active records than
    fill the engines, their prefixes are still cached, and they leave memory soon. When no new record is left, the
    record with the fewest answers goes first: a record's answers come one after the other, so the record with the most
    remaining steps determines the end of the rollout.

    Requests beside the rollout take what it leaves free of the policy's engine: when all remaining records are active
    (or fewer records may be active than fill the engine), they go where no request of a record waits.

    While engines step, strategies run in one thread (one at a time) and disk writes in another.

    Args:
        engines: started engines by the names that requests use; `policy` is one of them.
        journal: known completions; new ones are written to it before they are used; None: no journal.
        max_live: number of active records. The limit bounds memory and keeps records from evicting each other's
            prefixes. None is twice as many as fill the policy's engine: one half is being answered, the other half has
            its first prompt ready. When the last records are admitted, that half still has all its steps left, which
            keeps the engine full to the end.
        accounts: accounts of engines by name. A request whose answer an account knows, or that is in flight already, is
            not sent; a step that would exceed the budget is refused: `BudgetUsedUp` is raised inside its strategy.
        taking_turns: names of engines that share a device. One of them is awake at a time (at first the policy's); it
            sleeps when no request for it is left, so that no request in flight is lost.
        on_progress: called after every poll.
        beside: requests beside the rollout. They are left out where engines take turns, which would wait for them.

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
        accounts: Mapping[str, EngineAccount] | None = None,
        taking_turns: Collection[str] = (),
        on_progress: Callable[[Progress], None] | None = None,
        beside: Iterable[RequestStream[None]] = (),
    ) -> None:
        at_least("max_live_records", max_live, 1, or_null=True)
        if POLICY not in engines:
            raise ConfigError(f"there is no engine for the policy among {', '.join(engines) or 'none'}")
        self._lanes = {name: _Lane(e, name == POLICY or name not in taking_turns) for name, e in engines.items()}
        self._taking_turns = [self._lanes[name] for name in engines if name in taking_turns]
        self.journal = journal
        self._accounts = dict(accounts or {})
        # By engine and content: who waits for the answer to a request that another record has sent.
        self._waiters: dict[tuple[str, str], list[tuple[_ActiveRecord, Request]]] = {}
        self.max_live = max_live or engines[POLICY].concurrency * 2
        self.on_progress = on_progress
        self.progress = Progress()
        self._admitted = 0
        self._next: tuple[str, RequestStream[Any]] | None = None  # the next task to begin
        self._exhausted = False  # there are no more tasks
        self._ending = False  # all remaining records are active
        self._active: dict[str, _ActiveRecord] = {}
        self._queued = 0
        self._in_flight: dict[str, tuple[_ActiveRecord, Request]] = {}
        self._thread: WorkerThread[_Resumed] = WorkerThread()
        self._finished: deque[_Finished] = deque()
        self._beside: Iterator[RequestStream[None]] = iter(() if taking_turns else beside)
        self._beside_active: set[_ActiveRecord] = set()
        self._beside_queue: deque[tuple[_ActiveRecord, Request]] = deque()
        self._beside_exhausted = False
        self._beside_in_flight = 0

    def run(self, tasks: Iterable[tuple[str, RequestStream[R]] | None]) -> Iterator[tuple[str, R | LongMabError]]:
        """Yield `(key, result)` as records finish, in any order; an error of one record is its result.

        Args:
            tasks: `(key, generator)` pairs, consumed lazily: a record's generator is made when there is room for it.
                Keys are unique among the active records. None in place of a pair means "not now": the iterator is read
                again when the active records, of which there must be at least one, have advanced.

        Raises:
            EngineError: an engine itself failed. Everything finished by then is in the journal.
            LongMabError: the journal cannot be written.
        """
        waiting = iter(tasks)
        try:
            while self._active or self._next or not self._exhausted or self._beside_active:
                self._admit(waiting)
                self._admit_beside()
                yield from self._drain(0)
                self._pass_turn()
                yield from self._submit()
                self._submit_beside()
                if self._has_room() and self._thread.unfinished:
                    progressed = yield from self._drain(_PATIENCE if self._in_flight else None)
                    if not progressed:
                        self._poll()
                elif self._has_room() and self._finished:
                    # Only answers that are being written to disk can lead to new requests.
                    self._use(self._finished.popleft())
                elif self._in_flight:
                    self._poll()
        finally:
            # Left early (error, Ctrl-C, a consumer that stops): requests without a consumer are aborted.
            if self._in_flight:
                self._in_flight.clear()
                for lane in self._lanes.values():
                    if lane.in_flight:
                        with contextlib.suppress(EngineError):  # the engine may be broken
                            lane.engine.abort()
            self._thread.close()
            for record in self._beside_active:
                if record.unused is not None:
                    self._advance(record, record.unused)  # no journal has these answers: their stream keeps them
            for record in (*self._active.values(), *self._beside_active):
                record.stream.close()
            if self._next:
                self._next[1].close()

    def _admit(self, waiting: Iterator[tuple[str, RequestStream[R]] | None]) -> None:
        """Begin new records while there is room; read one task ahead, to know in time which is the last."""
        while True:
            if self._next is None and not self._exhausted:
                try:
                    self._next = next(waiting)
                except StopIteration:
                    self._exhausted = True
            self._order(ending=self._next is None)
            if self._next is None:
                return
            if len(self._active) >= self.max_live:
                return
            (key, stream), self._next = self._next, None
            if key in self._active:
                raise DataError(f"two records have the id {key!r}; ids must be unique")
            record = self._active[key] = _ActiveRecord(self._admitted, key, stream)
            self._admitted += 1
            self._thread.put(partial(self._advance, record, None), _FRESH)

    def _admit_beside(self) -> None:
        """Begin streams beside the rollout, so that as many as fill the policy's engine have their prompts ready."""
        most = self._lanes[POLICY].engine.concurrency
        while not self._beside_exhausted and len(self._beside_active) - self._beside_in_flight < most:
            stream = next(self._beside, None)
            if stream is None:
                self._beside_exhausted = True
                return
            record = _ActiveRecord(0, "", stream, is_beside=True)
            self._beside_active.add(record)
            self._thread.put(partial(self._advance, record, None), _BESIDE)

    def _order(self, *, ending: bool) -> None:
        """Switch to the order of the end, in which the record with the fewest answers goes first, or back."""
        if self._ending == ending:
            return
        self._ending = ending
        for lane in self._lanes.values():
            lane.queue = [
                (record.answered if ending else 0, number, queued, record, request)
                for _, number, queued, record, request in lane.queue
            ]
            heapq.heapify(lane.queue)

    def _has_room(self) -> bool:
        """Return whether all awake engines have room."""
        return all(lane.has_room for lane in self._lanes.values() if lane.awake)

    def _may_submit(self, lane: _Lane) -> bool:
        return lane.awake and lane.has_room

    def _pass_turn(self) -> None:
        """Wake the next engine of those that share a device when the awake one has no work left."""
        if self._thread.unfinished or self._finished:
            return  # the strategies' next requests may be for the engine that is awake
        awake = next((lane for lane in self._taking_turns if lane.awake), None)
        following = next((lane for lane in self._taking_turns if lane.queue and not lane.awake), None)
        if following is None or (awake and (awake.in_flight or awake.queue)):
            return
        if awake:
            awake.engine.sleep()
            awake.awake = False
        following.engine.wake()
        following.awake = True

    def _ask(self, record: _ActiveRecord, requests: Sequence[Request]) -> None:
        """Queue the requests of a step, except those whose answers are known or on their way."""
        known: list[tuple[_ActiveRecord, Request, Completion]] = []
        new: dict[str, list[Request]] = {}  # by engine
        keys: dict[tuple[str, str], list[Request]] = {}
        for request in requests:
            account = self._accounts.get(request.to)
            if account is None:
                new.setdefault(request.to, []).append(request)
            elif (completion := account.get(request)) is not None:
                known.append((record, request, completion))
                self.progress.units += request.units
            else:
                keys.setdefault((request.to, content_key(request)), []).append(request)
        for (name, _), (first, *_) in ((key, same) for key, same in keys.items() if key not in self._waiters):
            new.setdefault(name, []).append(first)
        try:
            self._reserve(new)
        except BudgetUsedUp as error:
            self._thread.put(partial(self._advance, record, error), _ANSWERED)
            return
        for key, same in keys.items():
            waiting = self._waiters.setdefault(key, [])
            waiting += [(record, request) for request in same if request not in new.get(request.to, ())]
        for request in (request for named in new.values() for request in named):
            self._enqueue(record, request)
        self._write(known)

    def _reserve(self, new: Mapping[str, Sequence[Request]]) -> None:
        reserved: list[tuple[EngineAccount, Request]] = []
        try:
            for name, requests in new.items():
                if name in self._accounts:
                    self._accounts[name].reserve(requests)
                    reserved += [(self._accounts[name], request) for request in requests]
        except BudgetUsedUp:
            for account, request in reserved:
                account.release(request)
            raise

    def _drop(self, request: Request) -> None:
        """Give up a queued request of a failed record; the next record that waits for the same answer sends it."""
        if request.to not in self._accounts:
            return
        key = (request.to, content_key(request))
        waiting = [(r, same) for r, same in self._waiters.pop(key) if self._active.get(r.key) is r]
        if waiting:
            self._waiters[key] = waiting[1:]
            self._enqueue(*waiting[0])
        else:
            self._accounts[request.to].release(request)

    def _enqueue(self, record: _ActiveRecord, request: Request) -> None:
        self._queued += 1
        behind = record.answered if self._ending else 0
        heapq.heappush(self._lanes[request.to].queue, (behind, record.number, self._queued, record, request))

    def _submit(self) -> Iterator[tuple[str, LongMabError]]:
        for lane in self._lanes.values():
            while lane.queue and self._may_submit(lane):
                *_, record, request = heapq.heappop(lane.queue)
                if self._active.get(record.key) is not record:
                    self._drop(request)  # its record has failed on a sibling request
                    continue
                try:
                    lane.engine.submit(request)
                except PromptTooLong as e:
                    record.stream.close()
                    yield self._done(record, e)
                    self._drop(request)
                    continue
                except EngineError as e:
                    raise self._resumable(e) from e
                self._in_flight[request.id] = (record, request)
                lane.in_flight += request.n
        self.progress.in_flight = sum(lane.in_flight for lane in self._lanes.values())

    def _submit_beside(self) -> None:
        """Submit requests beside the rollout in the room that records no longer fill."""
        lane = self._lanes[POLICY]
        if not self._ending and len(self._active) >= lane.engine.concurrency:
            return
        while self._beside_queue and not lane.queue and self._may_submit(lane):
            record, request = self._beside_queue.popleft()
            try:
                lane.engine.submit(request)
            except PromptTooLong as e:
                self._thread.put(partial(self._advance, record, e), _BESIDE)
                continue
            except EngineError as e:
                raise self._resumable(e) from e
            self._in_flight[request.id] = (record, request)
            self._beside_in_flight += 1
            lane.in_flight += request.n
        self.progress.in_flight = sum(lane.in_flight for lane in self._lanes.values())

    def _poll(self) -> None:
        """Poll the engines, and pass on their finished completions."""
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
        """Return the engine's error with the note that nothing finished is lost."""
        if self.journal is None:
            return error
        return EngineError(
            f"{error}\nEverything finished so far is in {self.journal.path}: when the cause is fixed, run the same "
            "command again and it continues from there (a training run in a later round: with --ckpt_path "
            "<run>/checkpoints/last.ckpt)."
        )

    def _finish(self, lane: _Lane, completions: list[Completion]) -> None:
        """Write finished completions to the journal; strategies get them only when they survive a power failure.

        The engine continues meanwhile, so that it does not wait for the disk at every answer.
        """
        if not completions:
            return
        answered = []
        for completion in completions:
            if completion.request_id not in self._in_flight:
                raise EngineError(f"the engine answered a request that is not in flight: {completion.request_id!r}")
            record, request = self._in_flight.pop(completion.request_id)
            lane.in_flight -= request.n
            if record.is_beside:
                self._beside_in_flight -= 1
                self._answer(record, completion)
            else:
                answered.append((record, request, completion))
                answered += self._shared(request, completion)
                self.progress.responses += request.responses
                self.progress.units += request.units
            self.progress.tokens += sum(completion.completion_tokens)
            self.progress.prompt_tokens += completion.prompt_tokens
            self.progress.cached_tokens += completion.cached_tokens
        self._write(answered)

    def _shared(self, request: Request, completion: Completion) -> list[tuple[_ActiveRecord, Request, Completion]]:
        """Enter a completion in its engine's account, and return it for all records that wait for the same answer."""
        if request.to not in self._accounts:
            return []
        account = self._accounts[request.to]
        account.add(request, completion)
        waiting = self._waiters.pop((request.to, content_key(request)))
        account.repeated += len(waiting)
        self.progress.units += sum(same.units for _, same in waiting)
        return [(record, same, replace(completion, request_id=same.id)) for record, same in waiting]

    def _write(self, answered: Sequence[tuple[_ActiveRecord, Request, Completion]]) -> None:
        if not answered:
            return
        ticket = 0
        if self.journal is not None:
            ticket = self.journal.write((request, completion) for _, request, completion in answered)
        self._finished.append(_Finished(ticket, [(record, completion) for record, _, completion in answered]))

    def _use(self, finished: _Finished) -> None:
        """Pass answers to their strategies, as soon as they survive a power failure."""
        if self.journal is not None:
            self.journal.wait(finished.ticket)
        for record, completion in finished.answered:
            if self._active.get(record.key) is not record:
                continue  # its record failed on a sibling request; the completion is still in the journal
            self._answer(record, completion)

    def _answer(self, record: _ActiveRecord, completion: Completion) -> None:
        """Store an answer, and resume the strategy if its step has all of them."""
        record.answers[completion.request_id] = completion
        if len(record.answers) == len(record.awaited):
            record.unused = [record.answers[i] for i in record.awaited]
            self._thread.put(partial(self._advance, record, record.unused), _ANSWERED)

    def _advance(
        self, record: _ActiveRecord, answers: list[Completion] | BudgetUsedUp | PromptTooLong | None
    ) -> _Resumed:
        """Resume a strategy until it waits for an engine or ends; answers in the journal are passed to it at once.

        Args:
            record: its record.
            answers: answers to its last step, why that was refused, or None to start the strategy.

        Runs in the strategies' thread.
        """
        step = _Resumed(record)
        record.unused = None
        while True:
            try:
                if isinstance(answers, BudgetUsedUp | PromptTooLong):
                    requests = record.stream.throw(answers)
                else:
                    record.answered += len(answers or ())
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
                known = self.journal.get(request) if self.journal is not None and not record.is_beside else None
                if known is None:
                    step.asked.append(request)
                else:
                    record.answers[request.id] = known
                    step.replayed += request.responses
                    step.units += request.units
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
        """Process the finished steps of strategies, and return whether there were any.

        Args:
            patience: seconds to wait for the first one; None: no limit.
        """
        step = self._thread.take(patience)
        progressed = step is not None
        while step is not None:
            if step.record.is_beside:
                self._beside_queue.extend((step.record, request) for request in step.asked)
                if step.ended:
                    self._beside_active.remove(step.record)
                    self.progress.beside_done += 1
                step = self._thread.take(0)
                continue
            self.progress.responses += step.replayed
            self.progress.replayed += step.replayed
            self.progress.units += step.units
            if step.asked:
                self._ask(step.record, step.asked)
            if step.ended:
                yield self._done(step.record, step.result)
            step = self._thread.take(0)
        return progressed

    def _done(self, record: _ActiveRecord, result: R) -> tuple[str, R]:
        del self._active[record.key]
        self.progress.records_done += 1
        return record.key, result
