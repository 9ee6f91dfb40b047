"""An engine whose answers are a function of the request; finishing order and failures are scripted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.errors import EngineError, PromptTooLong

Answer = Callable[[Request, int], str]
"""(request, sample number) -> text"""


class ScriptedEngine:
    """Answers after a number of polls that depends on the request's id; keeps a record of all that was asked."""

    def __init__(
        self,
        answer: Answer,
        concurrency: int = 8,
        max_model_len: int = 100_000,
        jitter: int = 5,
        die_after: int | None = None,
        weight_format: str = "scripted",
    ) -> None:
        self.answer = answer
        self._concurrency = concurrency
        self._max_model_len = max_model_len
        self.jitter = jitter
        self.die_after = die_after
        self.weight_format = weight_format
        self.asked: list[Request] = []
        self.occupancy: list[int] = []
        self.synced: list[Path | None] = []
        self.slept = 0
        self.closed = False
        self._started = False
        self._in_flight: list[tuple[int, Request]] = []
        self._now = 0

    @property
    def concurrency(self) -> int:
        return self._concurrency

    @property
    def max_model_len(self) -> int:
        return self._max_model_len

    @property
    def started(self) -> bool:
        return self._started

    def start(self, model: str) -> None:
        self._started = True

    def submit(self, request: Request) -> None:
        if len(request.prompt_ids) + request.sampling.max_tokens > self._max_model_len:
            raise PromptTooLong(f"{request.id}: too long")
        self.asked.append(request)
        wait = random.Random(request.id).randint(1, self.jitter)
        self._in_flight.append((self._now + wait, request))

    def poll(self) -> list[Completion]:
        if self.die_after is not None and len(self.asked) >= self.die_after:
            raise EngineError("the engine died")
        self._now += 1
        self.occupancy.append(sum(r.n for _, r in self._in_flight))
        done = [r for due, r in self._in_flight if due <= self._now]
        self._in_flight = [(due, r) for due, r in self._in_flight if due > self._now]
        return [self.complete(r) for r in done]

    def complete(self, request: Request) -> Completion:
        texts = tuple(self.answer(request, i) for i in range(request.n))
        return Completion(
            request_id=request.id,
            texts=texts,
            finish_reasons=tuple("stop" for _ in texts),
            completion_tokens=tuple(len(t.split()) for t in texts),
            prompt_tokens=len(request.prompt_ids),
        )

    def abort(self) -> None:
        self._in_flight.clear()

    def score(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[0.0] * (len(p) - 1) for p in prompts]

    def sync(self, adapter: Path | None) -> None:
        self.synced.append(adapter)

    def sleep(self) -> None:
        self.slept += 1

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def numbered(request: Request, i: int) -> str:
    """Right for record n ("number 10n") at every third pull, wrong in several ways at the others."""
    record, pull = request.id.split("/")
    right = (int(record) + int(pull)) % 3 == 0
    return f" number {int(record) * 10}" if right else f" number {int(record) * 10 + 1 + int(pull)} or so"
