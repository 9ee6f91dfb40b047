"""One scheduler drives every record's strategy against the engine and keeps the engine full."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from longmab_pl.engines.protocol import Completion, Engine, Request
from longmab_pl.errors import ConfigError, DataError, EngineError, LongMabError, PromptTooLong
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.worker_thread import WorkerThread
from longmab_pl.strategies.base import R, RequestStream


@dataclass
class Progress:
    """What a progress display needs; updated in place by the scheduler."""

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
    """A record at work. `number` counts the records in the order in which they were taken up."""

    number: int
    key: str
    asking: RequestStream[Any]
    awaited: list[str] = field(default_factory=list)
    answers: dict[str, Completion] = field(default_factory=dict)
    answered: int = 0


@dataclass(frozen=True, eq=False)
class _Finished:
    """Completions of one poll, on their way to the disk."""

    ticket: int
    answered: list[tuple[_ActiveRecord, Completion]]


@dataclass(eq=False)
class _Resumed:
    """How far a strategy came: it waits for the engine to answer `asked`, or it is `ended` with `result`."""

    live: _ActiveRecord
    asked: list[Request] = field(default_factory=list)
    ended: bool = False
    result: Any = None
    replayed: int = 0


_ANSWERED, _FRESH = 0, 1
"""Urgencies in the strategies' thread: records under way before new ones."""

_PATIENCE = 0.1
"""Seconds for which an engine with room waits for a strategy's next request before it goes on with what it has."""


class Scheduler:
    """Runs strategies, one generator per record, each independent of the others: no barrier between bandit rounds.

    Whenever the engine has room, the oldest waiting record goes first: so no more records are under way than fill the
    engine, they find their prefixes in its cache, and they leave memory soonest. When no new record is left, the one
    with the fewest answers goes first: a record's answers come one after the other, so whoever has the longest way to
    go decides when the rollout ends.

    While the engine steps, strategies work in a thread of their own (one at a time) and the disk in another.

    Args:
        engine: a started engine.
        journal: completions already known, and where new ones go before they are used; None keeps no journal.
        max_live: records at work at once. It bounds memory and keeps records in flight from evicting each other's
            prefixes. None is twice what fills the engine (once in `lockstep`): one half is under way, the other has
            its first prompt ready and still has its whole way to go when the last records are taken up, which keeps
            the engine full to the end.
        mode: `free` submits whenever there is room; `lockstep` waits for the whole batch before the next round
            (the original program's scheme, for comparison).
        on_progress: called after every poll.

    Raises:
        ConfigError: `max_live` is below 1.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal | None = None,
        *,
        max_live: int | None = None,
        mode: Literal["free", "lockstep"] = "free",
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        if max_live is not None and max_live < 1:
            raise ConfigError(f"max_live_records is {max_live}; it must be at least 1")
        self.engine = engine
        self.journal = journal
        self.max_live = max_live or engine.concurrency * (2 if mode == "free" else 1)
        self.mode = mode
        self.on_progress = on_progress
        self.progress = Progress()
        self._taken = 0
        self._next: tuple[str, RequestStream[Any]] | None = None  # the task to begin next
        self._exhausted = False  # there are no more tasks
        self._ending = False  # all that are left are at work
        self._live: dict[str, _ActiveRecord] = {}
        self._queue: list[tuple[int, int, int, _ActiveRecord, Request]] = []  # a heap; the fourth is never compared
        self._queued = 0
        self._in_flight: dict[str, tuple[_ActiveRecord, Request]] = {}
        self._in_flight_responses = 0
        self._thread: WorkerThread[_Resumed] = WorkerThread()
        self._finished: deque[_Finished] = deque()

    def run(self, tasks: Iterable[tuple[str, RequestStream[R]] | None]) -> Iterator[tuple[str, R | LongMabError]]:
        """Yield `(key, result)` as records finish, in any order; an error of one record is its result.

        Args:
            tasks: `(key, generator)` pairs, consumed lazily: a record's generator is made when there is room for it.
                Keys are unique among the records that are at work at the same time. None in place of a pair means "not
                now": asked again when the records at work, of which there must be one, have got on.

        Raises:
            EngineError: the engine itself failed. Everything finished by then is in the journal.
            LongMabError: the journal cannot be written.
        """
        waiting = iter(tasks)
        try:
            while self._live or self._next or not self._exhausted:
                self._admit(waiting)
                yield from self._drain(0)
                yield from self._submit()
                if self._has_room() and self._thread.unfinished:
                    progressed = yield from self._drain(_PATIENCE if self._in_flight else None)
                    if not progressed:
                        self._poll()
                elif self._has_room() and self._finished:
                    # Only the answers on their way to the disk can give the engine work.
                    self._use(self._finished.popleft())
                elif self._in_flight:
                    self._poll()
        finally:
            # Left early (error, Ctrl-C, a consumer that stops): nothing must keep generating for nobody.
            if self._in_flight:
                self._in_flight.clear()
                with contextlib.suppress(EngineError):  # of an engine that is broken anyway
                    self.engine.abort()
            self._thread.close()
            for live in self._live.values():
                live.asking.close()
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
            if len(self._live) >= self.max_live:
                return
            (key, asking), self._next = self._next, None
            if key in self._live:
                raise DataError(f"two records have the id {key!r}; ids must be unique")
            live = self._live[key] = _ActiveRecord(self._taken, key, asking)
            self._taken += 1
            self._thread.put(partial(self._advance, live, None), _FRESH)

    def _last_records(self) -> None:
        """From now on the record with the fewest answers goes first."""
        if not self._ending:
            self._ending = True
            self._queue = [(live.answered, a, b, live, request) for _, a, b, live, request in self._queue]
            heapq.heapify(self._queue)

    def _has_room(self) -> bool:
        if self.mode == "lockstep":
            return not self._in_flight
        return self._in_flight_responses < self.engine.concurrency

    def _enqueue(self, live: _ActiveRecord, request: Request) -> None:
        self._queued += 1
        behind = live.answered if self._ending else 0
        heapq.heappush(self._queue, (behind, live.number, self._queued, live, request))

    def _submit(self) -> Iterator[tuple[str, LongMabError]]:
        if self.mode == "lockstep" and (self._in_flight or self._finished or self._thread.unfinished):
            return
        while self._queue and (self.mode == "lockstep" or self._has_room()):
            *_, live, request = heapq.heappop(self._queue)
            if self._live.get(live.key) is not live:
                continue  # its record has failed on a sibling request
            try:
                self.engine.submit(request)
            except PromptTooLong as e:
                live.asking.close()
                yield self._done(live, e)
                continue
            except EngineError as e:
                raise self._resumable(e) from e
            self._in_flight[request.id] = (live, request)
            self._in_flight_responses += request.n
        self.progress.in_flight = self._in_flight_responses

    def _poll(self) -> None:
        """Let the engine work, and hand on what it has finished."""
        try:
            completions = self.engine.poll()
        except EngineError as e:
            raise self._resumable(e) from e
        self._finish(completions)
        while self._finished and (self.journal is None or self.journal.is_durable(self._finished[0].ticket)):
            self._use(self._finished.popleft())
        if self.on_progress:
            self.on_progress(self.progress)

    def _resumable(self, error: EngineError) -> EngineError:
        """The engine's own words, and that nothing finished is lost."""
        if self.journal is None:
            return error
        return EngineError(
            f"{error}\nEverything finished so far is in {self.journal.path}: when the cause is mended, run the same "
            "command again and it continues from there (a training run in a later round: with --ckpt_path "
            "<run>/checkpoints/last.ckpt)."
        )

    def _finish(self, completions: list[Completion]) -> None:
        """Hand finished completions to the journal; nothing is decided from them before they are durable.

        The engine goes on meanwhile, so that it does not stand still for the disk at every answer.
        """
        if not completions:
            return
        answered = []
        for completion in completions:
            if completion.request_id not in self._in_flight:
                raise EngineError(f"the engine answered a request that is not in flight: {completion.request_id!r}")
            live, request = self._in_flight.pop(completion.request_id)
            self._in_flight_responses -= request.n
            answered.append((live, request, completion))
            self.progress.responses += request.n
            self.progress.tokens += sum(completion.completion_tokens)
            self.progress.prompt_tokens += completion.prompt_tokens
            self.progress.cached_tokens += completion.cached_tokens
        ticket = 0
        if self.journal is not None:
            ticket = self.journal.write((request, completion) for _, request, completion in answered)
        self._finished.append(_Finished(ticket, [(live, completion) for live, _, completion in answered]))

    def _use(self, landed: _Finished) -> None:
        """Give answers to their strategies, as soon as they are durable."""
        if self.journal is not None:
            self.journal.wait(landed.ticket)
        for live, completion in landed.answered:
            if self._live.get(live.key) is not live:
                continue  # its record failed on a sibling request; the completion is in the journal all the same
            live.answers[completion.request_id] = completion
            if len(live.answers) == len(live.awaited):
                self._thread.put(partial(self._advance, live, [live.answers[i] for i in live.awaited]), _ANSWERED)

    def _advance(self, live: _ActiveRecord, answers: list[Completion] | None) -> _Resumed:
        """In the strategies' thread: resume one until it waits for the engine or ends; what the journal knows it gets
        at once."""
        step = _Resumed(live)
        while True:
            live.answered += len(answers or ())
            try:
                requests = next(live.asking) if answers is None else live.asking.send(answers)
            except StopIteration as stop:
                step.ended, step.result = True, stop.value
                return step
            except LongMabError as e:
                step.ended, step.result = True, e
                return step
            live.awaited = [r.id for r in requests]
            live.answers = {}
            for request in requests:
                known = self.journal.get(request) if self.journal is not None else None
                if known is None:
                    step.asked.append(request)
                else:
                    live.answers[request.id] = known
                    step.replayed += request.n
            if step.asked:
                return step
            answers = [live.answers[i] for i in live.awaited]

    def _drain(self, patience: float | None) -> Generator[tuple[str, Any], None, bool]:
        """Take over what strategies have come to since; True if there was any. Waits for the first one at most
        `patience` seconds (None: as long as it takes)."""
        step = self._thread.take(patience)
        progressed = step is not None
        while step is not None:
            self.progress.responses += step.replayed
            self.progress.replayed += step.replayed
            for request in step.asked:
                self._enqueue(step.live, request)
            if step.ended:
                yield self._done(step.live, step.result)
            step = self._thread.take(0)
        return progressed

    def _done(self, live: _ActiveRecord, result: R) -> tuple[str, R]:
        del self._live[live.key]
        self.progress.records_done += 1
        return live.key, result
