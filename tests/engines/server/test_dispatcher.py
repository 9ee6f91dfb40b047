"""Patience and pauses, by a clock that jumps: the dispatcher over servers whose answers are functions of time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import virtual_time

from longmab_pl.engines.protocol import Completion, Request, Sampling
from longmab_pl.engines.server.client import Backoff, Credentials, HTTPClient, Job, RemoteServer, RetryPolicy
from longmab_pl.engines.server.dispatcher import HEALTH_SECONDS, TICK_SECONDS, UNWELL, Dispatcher
from longmab_pl.engines.server.openai_api import ServedModel, ServerBusy, ServerFailed
from longmab_pl.errors import EngineError

BACKOFF = Backoff(first=0.2, longest=0.4)
"""Shorter than the times below: its jitter must not decide them."""


def now() -> float:
    return asyncio.get_running_loop().time()


class TimedServer(RemoteServer):
    """A server without a network: `up` says at which times it answers, an answer takes `seconds`."""

    def __init__(self, url: str, seconds: float, up: Callable[[float], bool] = lambda time: True) -> None:
        super().__init__(url, capacity=4, credentials=Credentials("", None), client=HTTPClient())
        self.seconds = seconds
        self.up = up
        self.busy_for = 0.0
        self.healthy = True
        self.asked_at: list[float] = []
        self.model = ServedModel("m", None, None, 100, vllm=True)
        self.admitted = True

    async def post(self, path: str, body: dict[str, Any], seconds: float) -> Any:
        self.asked_at.append(now())
        if self.busy_for:
            pause, self.busy_for = self.busy_for, 0.0
            raise ServerBusy("too much to do", pause)
        ends = now() + self.seconds
        while now() < ends:  # killed in the middle of an answer, its connections break
            if not self.up(now()):
                raise ServerFailed("no connection")
            await asyncio.sleep(0.05)
        choice = {"index": 0, "text": self.url, "finish_reason": "stop", "token_ids": [1]}
        return {"choices": [choice], "usage": {"completion_tokens": 1}}

    async def is_alive(self) -> bool:
        return self.healthy


class SlowClient(HTTPClient):
    """The real client's place under a real `RemoteServer`: every answer takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.asked = 0

    async def request(self, method: str, url: str, body: dict[str, Any] | None, authorization: str) -> str:
        if url.endswith("/health"):
            return ""
        self.asked += 1
        await asyncio.sleep(self.seconds)
        choice = {"index": 0, "text": url, "finish_reason": "stop", "token_ids": [1]}
        return json.dumps({"choices": [choice], "usage": {"completion_tokens": 1}})


class Run:
    """A dispatcher at work: what it delivers, and when."""

    def __init__(self, servers: Sequence[RemoteServer], patience: float, max_attempts: int = 6) -> None:
        self.delivered: list[tuple[float, Completion | EngineError]] = []
        self.something = asyncio.Event()
        retry = RetryPolicy(patience, max_attempts, 1800.0, BACKOFF)
        self.dispatcher = Dispatcher(servers, self.admit, self.deliver, retry, lambda: "")
        self.dispatcher.start()

    async def admit(self, server: RemoteServer) -> None:
        if not isinstance(server, TimedServer) or server.up(now()):
            server.admitted = True
        else:
            server.failed(ServerFailed("no connection"), now(), now(), BACKOFF)

    def deliver(self, what: Completion | EngineError) -> None:
        self.delivered.append((now(), what))
        self.something.set()

    def ask(self, name: str = "a") -> None:
        self.dispatcher.submit(Job(Request(name, (1, 2), Sampling(max_tokens=5), seed=1)))

    async def first(self) -> tuple[float, Completion | EngineError]:
        await self.something.wait()
        await self.dispatcher.stop()
        return self.delivered[0]


def test_patience_begins_when_a_server_fails() -> None:
    """Not at the last answer, which may lie longer back than patience when answers are long."""

    async def main() -> tuple[float, Completion | EngineError]:
        run = Run([TimedServer("one", 4.5, up=lambda time: not 3.4 < time < 5.0)], patience=3.0)
        run.ask()
        return await run.first()

    at, delivered = virtual_time.run(main())
    assert isinstance(delivered, Completion), "given up although the server was away for less than patience"
    assert 5.0 + 4.5 <= at < 15.0


@pytest.mark.parametrize("patience", [3.0, 30.0])
def test_all_is_given_up_when_patience_ends_and_not_before(patience: float) -> None:
    async def main() -> tuple[float, Completion | EngineError]:
        run = Run([TimedServer("one", 1.0, up=lambda time: time < 10.5)], patience, max_attempts=10**6)
        for i in range(50):
            run.ask(f"r{i}")
        await asyncio.sleep(10.5)
        run.something.clear()
        run.delivered.clear()
        return await run.first()

    at, delivered = virtual_time.run(main())
    assert isinstance(delivered, EngineError)
    assert "engine.patience_s" in str(delivered)
    assert 10.5 - TICK_SECONDS + patience <= at < 10.5 + patience + 1.0


def test_a_busy_servers_own_pause_is_kept() -> None:
    async def main() -> TimedServer:
        server = TimedServer("one", 0.2)
        server.busy_for = 7.0
        run = Run([server], patience=60.0, max_attempts=1)
        run.ask()
        _, delivered = await run.first()
        assert isinstance(delivered, Completion), "a pause is no failure of the request"
        return server

    first, second = virtual_time.run(main()).asked_at
    assert 7.0 <= second - first < 7.5


def test_a_silent_servers_requests_move_after_three_health_checks() -> None:
    async def main() -> tuple[float, Completion | EngineError]:
        silent, other = TimedServer("silent", 1800.0), TimedServer("other", 1.0)
        silent.healthy = False
        other.admitted = False  # so that the first request goes to the silent one
        run = Run([silent, other], patience=600.0)
        run.ask()
        return await run.first()

    at, delivered = virtual_time.run(main())
    assert isinstance(delivered, Completion)
    assert delivered.texts == ("other",)
    assert UNWELL * HEALTH_SECONDS <= at < (UNWELL + 1) * HEALTH_SECONDS


def test_an_answer_that_takes_too_long_is_asked_elsewhere() -> None:
    """Not before `request_timeout`, and the other server, which is as slow as is allowed, is believed."""

    async def main() -> tuple[float, Completion | EngineError, int, int]:
        clients = SlowClient(1801.0), SlowClient(1799.0)
        slow, other = (
            RemoteServer(url, capacity, Credentials("", None), client)
            for url, capacity, client in zip(("http://slow", "http://other"), (1, 2), clients, strict=True)
        )
        slow.model = other.model = ServedModel("m", None, None, 100, vllm=True)
        slow.admitted = True  # so that the first request goes there
        run = Run([slow, other], patience=1e6)
        run.ask()
        return *await run.first(), clients[0].asked, clients[1].asked

    at, delivered, *asked = virtual_time.run(main())
    assert isinstance(delivered, Completion)
    assert delivered.texts == ("http://other/v1/completions",)
    assert 1800.0 + 1799.0 <= at < 1800.0 + 1799.0 + 1.0
    assert asked[1] == 1
