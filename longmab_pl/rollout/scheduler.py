"""One scheduler drives every record's strategy against the engine and keeps the engine full."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from longmab_pl.engine.protocol import Completion, Engine, Request
from longmab_pl.errors import ConfigError, EngineError, LongMabError
from longmab_pl.rollout.journal import Journal

R = TypeVar("R")
Asking = Generator[list[Request], list[Completion], R]
"""A strategy at work on one record: yields requests, receives their completions (same order), returns its result."""


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


@dataclass
class _Live:
    key: str
    asking: Asking
    awaited: list[str]
    answers: dict[str, Completion]


class Scheduler:
    """Runs strategies, one generator per record, each independent of the others: no barrier between bandit rounds.

    Args:
        engine: a started engine.
        journal: completions already known, and where new ones go before they are used; None keeps no journal.
        max_live: records at work at once. Bounds memory and keeps records in flight from evicting each other's
            prefixes; None means as many as fill the engine.
        mode: `free` submits whenever there is room; `lockstep` waits for the whole batch before the next round
            (the original program's scheme, for comparison).
        on_progress: called after every poll.
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
        self.max_live = max_live or engine.concurrency
        self.mode = mode
        self.on_progress = on_progress
        self.progress = Progress()
        self._queue: deque[tuple[_Live, Request]] = deque()
        self._flying: dict[str, tuple[_Live, Request]] = {}
        self._in_flight_responses = 0
        self._live: dict[str, _Live] = {}

    def run(self, tasks: Iterable[tuple[str, Asking[R]]]) -> Iterator[tuple[str, R | LongMabError]]:
        """Yield `(key, result)` as records finish, in any order; an error of one record is its result.

        Args:
            tasks: `(key, generator)` pairs, consumed lazily: a record's generator is made when there is room for it.

        Raises:
            EngineError: the engine itself failed. Everything finished by then is in the journal.
        """
        waiting = iter(tasks)
        exhausted = False
        try:
            while True:
                while not exhausted and len(self._live) < self.max_live:
                    try:
                        key, asking = next(waiting)
                    except StopIteration:
                        exhausted = True
                        break
                    live = _Live(key, asking, [], {})
                    self._live[key] = live
                    yield from self._advance(live, None)
                if not self._live:
                    if exhausted:
                        return
                    continue
                yield from self._submit()
                if not self._flying:
                    continue
                yield from self._receive(self.engine.poll())
                if self.on_progress:
                    self.on_progress(self.progress)
        finally:
            # Left early (error, Ctrl-C, a consumer that stops): nothing must keep generating for nobody.
            if self._flying:
                self.engine.abort()
                self._flying.clear()
            for live in self._live.values():
                live.asking.close()

    def _submit(self) -> Iterator[tuple[str, LongMabError]]:
        if self.mode == "lockstep" and self._flying:
            return
        limit = float("inf") if self.mode == "lockstep" else self.engine.concurrency
        while self._queue and self._in_flight_responses < limit:
            live, request = self._queue.popleft()
            if live.key not in self._live:
                continue
            try:
                self.engine.submit(request)
            except LongMabError as e:
                live.asking.close()
                del self._live[live.key]
                yield live.key, e
                continue
            self._flying[request.id] = (live, request)
            self._in_flight_responses += request.n
        self.progress.in_flight = self._in_flight_responses

    def _receive(self, completions: list[Completion]) -> Iterator[tuple[str, R | LongMabError]]:
        answered = []
        for completion in completions:
            if completion.request_id not in self._flying:
                raise EngineError(f"the engine answered a request that is not in flight: {completion.request_id!r}")
            live, request = self._flying.pop(completion.request_id)
            self._in_flight_responses -= request.n
            answered.append((live, request, completion))
        if self.journal is not None:
            self.journal.append((request, completion) for _, request, completion in answered)
        for live, request, completion in answered:
            self.progress.responses += request.n
            self.progress.tokens += sum(completion.completion_tokens)
            self.progress.prompt_tokens += completion.prompt_tokens
            self.progress.cached_tokens += completion.cached_tokens
            if live.key not in self._live:
                continue  # its record failed on a sibling request; the completion is in the journal all the same
            live.answers[request.id] = completion
            if len(live.answers) == len(live.awaited):
                yield from self._advance(live, [live.answers[i] for i in live.awaited])

    def _advance(self, live: _Live, answers: list[Completion] | None) -> Iterator[tuple[str, R | LongMabError]]:
        """Resume one strategy until it waits for the engine or ends; journalled answers never leave this loop."""
        while True:
            try:
                requests = next(live.asking) if answers is None else live.asking.send(answers)
            except StopIteration as stop:
                del self._live[live.key]
                self.progress.records_done += 1
                yield live.key, stop.value
                return
            except LongMabError as e:
                del self._live[live.key]
                self.progress.records_done += 1
                yield live.key, e
                return
            live.awaited = [r.id for r in requests]
            live.answers = {}
            for request in requests:
                known = self.journal.get(request) if self.journal is not None else None
                if known is None:
                    self._queue.append((live, request))
                else:
                    live.answers[request.id] = known
                    self.progress.responses += request.n
                    self.progress.replayed += request.n
            if len(live.answers) < len(requests):
                return
            answers = [live.answers[i] for i in live.awaited]
