"""The account of one engine in a run: what it was asked, by content, and its budget.

A judge's weights do not change in a run. So the same request is never sent twice, neither in a later round nor after a
change of other settings, and a run can be given a limit.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longmab_pl.checks import at_least
from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.errors import BudgetUsedUp
from longmab_pl.storage.append_log import AppendLog, LogKind, Row

ACCOUNT = LogKind(
    name="engine account",
    format=1,
    lost="that request is sent again if it is not in a round's journal",
    then="run the same command again: it continues after the last completion",
    busy="Another process of this run asks the same engine. Wait for it, stop it, or use another run folder.",
)


@dataclass(frozen=True)
class EngineBudget:
    """Limits of what an engine is asked in a whole run (all rounds in its folder); answers known already are free.

    Args:
        calls: number of requests; None: no limit.
        tokens: tokens of all prompts and responses; None: no limit.

    Raises:
        ConfigError: a limit is below 0.
    """

    calls: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        at_least("budget.calls", self.calls, 0, or_null=True)
        at_least("budget.tokens", self.tokens, 0, or_null=True)


class EngineAccount:
    """Completions of one engine by the content of their requests, in one file of the run folder.

    Memory use is about 200 bytes per completion; texts are read from the file when they are needed.

    Args:
        name: name of the engine, for messages.
        path: the file; its folder is created.
        identity: digest of the engine's model and weight format. A file with another one is refused.
        budget: limits; what the file holds counts.

    Attributes:
        calls: number of requests that the engine has answered in this run.
        tokens: tokens of their prompts and responses.
        repeated: number of requests of this process that were not sent, because their answer was known.

    Raises:
        DataError: the file belongs to another engine, or is being written by another process.
        LongMabError: the file cannot be opened.
    """

    def __init__(self, name: str, path: Path, identity: str, budget: EngineBudget | None = None) -> None:
        self.name = name
        self.path = path
        self.budget = budget or EngineBudget()
        self.calls = 0
        self.tokens = 0
        self.repeated = 0
        self._reserved_calls = 0  # in flight
        self._reserved_tokens = 0
        self._places: dict[str, int] = {}

        def keep(row: Row, place: int) -> None:
            self._count(Completion.from_json(row))
            self._places[str(row["key"])] = place

        self._log = AppendLog(path, ACCOUNT, identity, keep)

    def get(self, request: Request) -> Completion | None:
        """Return the known answer to a request of the same content, under this request's id.

        A request without a seed asks for a new sample, unless it is greedy.
        """
        place = self._places.get(content_key(request)) if _repeatable(request) else None
        row = None if place is None else self._log.read(place)
        if row is None:
            return None
        self.repeated += 1
        return replace(Completion.from_json(row), request_id=request.id)

    def reserve(self, requests: Sequence[Request]) -> None:
        """Count requests that are about to be sent, with the longest responses that they allow.

        Raises:
            BudgetUsedUp: they would exceed the budget; none of them is counted.
        """
        calls = self.calls + self._reserved_calls + len(requests)
        tokens = self.tokens + self._reserved_tokens + sum(map(_most_tokens, requests))
        for what, needed, limit, spent in (
            ("calls", calls, self.budget.calls, self.calls),
            ("tokens", tokens, self.budget.tokens, self.tokens),
        ):
            if limit is not None and needed > limit:
                raise BudgetUsedUp(
                    f"the budget of the engine {self.name!r} is used up: {spent:,} of {limit:,} {what}; raise "
                    f"data.engines.{self.name}.budget.{what}"
                )
        self._reserved_calls += len(requests)
        self._reserved_tokens += sum(map(_most_tokens, requests))

    def release(self, request: Request) -> None:
        """Give back the reservation of a request that is not sent."""
        self._reserved_calls -= 1
        self._reserved_tokens -= _most_tokens(request)

    def add(self, request: Request, completion: Completion) -> None:
        """Write the answer to a reserved request.

        Raises:
            LongMabError: the disk is full or the file cannot be written.
        """
        self.release(request)
        self._count(completion)
        key = content_key(request)
        self._places[key] = self._log.write_one({"key": key, **completion.to_json()})

    def _count(self, completion: Completion) -> None:
        self.calls += 1
        self.tokens += completion.prompt_tokens + sum(completion.completion_tokens)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._log.close()


def content_key(request: Request) -> str:
    """Return a digest of all that an engine's answer depends on: prompt, sampling, n, seed and schema.

    For a request without a seed, which asks for a new sample, its id is part of it.
    """
    content = hashlib.blake2b(array("I", request.prompt_ids).tobytes(), digest_size=16)
    name = "" if _repeatable(request) else request.id
    content.update(repr(replace(request, id=name, prompt_ids=(), to="", progress=None)).encode())
    return content.hexdigest()


def _repeatable(request: Request) -> bool:
    """Return whether the same request has the same answer."""
    return request.seed is not None or request.sampling.temperature == 0


def _most_tokens(request: Request) -> int:
    return len(request.prompt_ids) + request.n * request.sampling.max_tokens
