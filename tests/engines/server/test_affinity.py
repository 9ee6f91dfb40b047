"""Which server gets a request: the one whose cache holds its prompt's beginning, by a clock that jumps."""

from __future__ import annotations

import asyncio
import functools
import random
from collections import Counter
from typing import Any

import pytest
import virtual_time
from prefix_cache import PrefixCache

from longmab_pl.engines.protocol import Completion, Request, Sampling
from longmab_pl.engines.server.client import Credentials, HTTPClient, Job, RemoteServer, RetryPolicy
from longmab_pl.engines.server.dispatcher import Dispatcher
from longmab_pl.engines.server.openai_api import ServedModel, ServerFailed
from longmab_pl.errors import EngineError

CHUNK = 128
"""Tokens of a record's chunk."""

CLIENT = HTTPClient()
"""Sends nothing."""


class CachingServer(RemoteServer):
    """A server without a network: an answer takes 1 to 3 seconds, drawn by its prompt."""

    def __init__(self, url: str, capacity: int, tokens: int = 40_000) -> None:
        super().__init__(url, capacity, Credentials("", None), CLIENT)
        self.model = ServedModel("m", None, None, 10_000, vllm=True)
        self.admitted = True
        self.cache = PrefixCache(tokens)
        self.broken = False
        self.most = 0

    async def post(self, path: str, body: dict[str, Any], seconds: float) -> Any:
        self.most = max(self.most, self.load)
        cached = self.cache.take(body["prompt"])
        await asyncio.sleep(random.Random(body["prompt"][-1]).uniform(1.0, 3.0))
        if self.broken:
            raise ServerFailed("no connection")
        choice = {"index": 0, "text": self.url, "finish_reason": "stop", "token_ids": [1]}
        usage = {"completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": cached}}
        return {"choices": [choice], "usage": usage}

    async def is_alive(self) -> bool:
        return True


class Run:
    """A dispatcher at work."""

    def __init__(self, *servers: RemoteServer) -> None:
        self.waiting: dict[str, asyncio.Future[Completion]] = {}
        self.dispatcher = Dispatcher(servers, self.admit, self.deliver, RetryPolicy(60.0, 6, 1800.0), lambda: "")
        self.dispatcher.start()

    async def admit(self, server: RemoteServer) -> None:
        server.admitted = True

    def deliver(self, what: Completion | EngineError) -> None:
        assert isinstance(what, Completion)
        self.waiting.pop(what.request_id).set_result(what)

    def ask(self, name: str, prompt: list[int]) -> asyncio.Future[Completion]:
        self.waiting[name] = asyncio.get_running_loop().create_future()
        self.dispatcher.submit(Job(Request(name, tuple(prompt), Sampling(max_tokens=5), seed=1)))
        return self.waiting[name]


@functools.cache
def tokens(name: object) -> list[int]:
    """A chunk of its own for every name."""
    draw = random.Random(str(name))
    return [draw.randrange(40_000) for _ in range(CHUNK)]


async def pull(run: Run, record: int, in_flight: asyncio.Semaphore) -> None:
    """Ask about chunks of a record one after the other, in document order, as a bandit does."""
    draw = random.Random(record)
    for number in range(8):
        arms = sorted(draw.choices(range(6), [8, 4, 2, 1, 1, 1], k=3))
        prompt = [token for arm in arms for token in tokens((record, arm))] + [draw.randrange(40_000) for _ in range(9)]
        async with in_flight:
            await run.ask(f"{record}/{number}", prompt)


def hits(servers: int, at_once: int, in_flight: int, records: int = 40) -> tuple[float, list[CachingServer]]:
    """Share of the prompts' tokens that the servers had cached, in a run that keeps so many requests in flight."""

    async def main() -> list[CachingServer]:
        fleet = [CachingServer(f"http://s{i}", at_once // servers) for i in range(servers)]
        run = Run(*fleet)
        free = asyncio.Semaphore(in_flight)
        await asyncio.gather(*(pull(run, record, free) for record in range(records)))
        await run.dispatcher.stop()
        return fleet

    fleet = virtual_time.run(main())
    return sum(s.cache.cached for s in fleet) / sum(s.cache.asked for s in fleet), fleet


def test_four_servers_find_as_much_in_their_caches_as_one():
    """A quarter more requests than the servers answer at once, as `ServerEngine.concurrency` says."""
    one, _ = hits(servers=1, at_once=16, in_flight=16)
    four, fleet = hits(servers=4, at_once=16, in_flight=20)
    assert one > 0.3, "the prompts of a record have beginnings in common"
    assert four > one - 0.05
    asked = [server.cache.asked for server in fleet]
    assert max(asked) < 1.25 * min(asked), "all servers work alike"


def test_a_full_servers_request_goes_to_another_one_and_is_known_there():
    async def main() -> tuple[Counter[str], str]:
        first, second = CachingServer("http://first", 2), CachingServer("http://second", 2)
        run = Run(first, second)
        await run.ask("warm", tokens("a"))
        home = first if first.cache.asked else second
        answers = [run.ask(f"{i}", [*tokens("a"), i]) for i in range(4)]
        await asyncio.sleep(0.01)
        assert first.load == second.load == 2, "no room stays empty"
        texts = Counter(answer.texts[0] for answer in await asyncio.gather(*answers))
        home.admitted = False
        (after,) = (await run.ask("again", [*tokens("a"), 9])).texts
        await run.dispatcher.stop()
        return texts, after

    texts, after = virtual_time.run(main())
    assert texts == {"http://first": 2, "http://second": 2}
    assert after in texts


def test_a_request_whose_server_is_full_lets_those_go_first_that_fit():
    async def main() -> list[str]:
        one, two = CachingServer("http://one", 1), CachingServer("http://two", 1)
        run = Run(one, two)
        await asyncio.gather(run.ask("a", tokens("a")), run.ask("b", tokens("b")))
        at_a = one if one.sent.shared(Job(Request("", tuple(tokens("a")), Sampling())).prefixes) else two
        asked = [run.ask(f"a{i}", [*tokens("a"), i]) for i in range(2)] + [run.ask("b0", [*tokens("b"), 0])]
        answers = [answer.texts[0] for answer in await asyncio.gather(*asked)]
        await run.dispatcher.stop()
        return [answer == at_a.url for answer in answers]

    first, _, other = virtual_time.run(main())
    assert first, "its cache has it"
    assert not other, "it did not wait behind a request of the other server"


def test_prompts_with_a_beginning_in_common_do_not_crowd_on_one_server():
    """All records begin with the same long instruction, which every server soon has."""

    async def main() -> list[int]:
        fleet = [CachingServer(f"http://s{i}", 32) for i in range(4)]
        run = Run(*fleet)
        await asyncio.gather(*(run.ask(f"{i}", [*tokens("head"), *tokens(i)]) for i in range(24)))
        await run.dispatcher.stop()
        return [server.most for server in fleet]

    assert max(virtual_time.run(main())) <= 8


@pytest.mark.parametrize("back", [False, True])
def test_what_a_failed_server_had_is_asked_elsewhere(back: bool):
    """It may have been restarted: its cache is empty, so its requests have no home any more."""

    async def main() -> tuple[str, int]:
        broken, other = CachingServer("http://broken", 2), CachingServer("http://other", 2)
        other.admitted = False
        run = Run(broken, other)
        await run.ask("a", tokens("a"))
        other.admitted, broken.broken = True, not back
        (text,) = (await run.ask("b", tokens("a"))).texts
        await run.dispatcher.stop()
        return text, broken.sent.shared(Job(Request("", tuple(tokens("a")), Sampling())).prefixes)

    text, known = virtual_time.run(main())
    assert text == ("http://broken" if back else "http://other")
    assert known == (2 if back else 0)
