"""A fleet of servers that serve one model and one adapter, and stay so: who is out is checked before it comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from longmab_pl.engines.protocol import Completion
from longmab_pl.engines.server.client import RemoteServer, RetryPolicy
from longmab_pl.engines.server.dispatcher import Dispatcher
from longmab_pl.engines.server.lora import SLOW_SECONDS, load_adapter, unload_adapter
from longmab_pl.engines.server.openai_api import NotServed, ServerFailed, parse_score, score_body
from longmab_pl.errors import EngineError

Check = Callable[[RemoteServer], Awaitable[None]]
"""Finds out what a server serves (`model`, and whether it still has our `adapter`); raises `EngineError` if another
model."""


class Fleet:
    """Servers in step; the `dispatcher` sends them requests.

    Args:
        servers: at least one.
        check: run before a server gets work, at first and after each failure.
        deliver: called in the loop's thread with every completion, and with the error that ends everything.
        retry: pauses and limits.
        ended: says why no server can ever come back (their processes have ended), or "".
    """

    def __init__(
        self,
        servers: Sequence[RemoteServer],
        check: Check,
        deliver: Callable[[Completion | EngineError], None],
        retry: RetryPolicy,
        ended: Callable[[], str] = lambda: "",
    ) -> None:
        self.servers = list(servers)
        self.dispatcher = Dispatcher(self.servers, self._admit, deliver, retry, ended)
        self._check = check
        self._retry = retry
        self._ended = ended
        self._adapter: tuple[str, Path] | None = None  # name and folder of the adapter in use

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # ------------------------------------------------------------------ life

    async def open(self) -> None:
        """Check all servers, and return when each has been tried and at least one can be used.

        Raises:
            EngineError: a server serves another model or refuses access, or none could be reached within `patience`.
        """
        await self._ready()
        self.dispatcher.start()

    async def close(self) -> None:
        """Take this engine's adapter out of the servers, as far as they answer, and stop."""
        await self.dispatcher.stop()
        with contextlib.suppress(TimeoutError):
            known = [self._unload(server) for server in self.servers if server.admitted]
            await asyncio.wait_for(asyncio.gather(*known), 5.0)

    async def _ready(self) -> list[RemoteServer]:
        """The servers that can be used, after one try with each that cannot; waits for the first of them.

        Raises:
            EngineError: something that waiting cannot fix is wrong with a server that answers, or none answers.
        """
        until = self._now() + self._retry.patience
        due = [server for server in self.servers if not server.admitted]
        while True:
            for error in await asyncio.gather(*(self._admit(server) for server in due)):
                if error is not None:
                    raise error
            ready = [server for server in self.servers if server.admitted]
            if ready:
                return ready
            if self._now() > until or self._ended():
                raise EngineError(self.dispatcher.no_server())
            await asyncio.sleep(0.1)
            due = [server for server in self.servers if server.resume_at <= self._now()]

    async def _admit(self, server: RemoteServer) -> EngineError | None:
        """Check a server's model and give it the adapter in use. What goes wrong is noted; returned if it lasts."""
        if server.checking:
            return None
        server.checking, started = True, self._now()
        try:
            await self._check(server)
            await self._give_adapter(server)
        except EngineError as error:
            server.failed(error, started, self._now(), self._retry.backoff)
            return None if isinstance(error, ServerFailed) else type(error)(f"{server.url}: {error}")
        else:
            server.admitted = True
            return None
        finally:
            server.checking = False

    # ------------------------------------------------------------------ adapter, scores, sleep

    async def sync(self, name: str | None, folder: Path | None) -> None:
        """Answer with this adapter from now on, under a name that was never used; None: the base model.

        Raises:
            EngineError: a server that answers cannot load it, or none answers.
        """
        self._adapter = (name, folder) if name is not None and folder is not None else None
        for server in self.servers:
            server.admitted = False
        await self._ready()

    async def _give_adapter(self, server: RemoteServer) -> None:
        wanted = self._adapter[0] if self._adapter is not None else None
        if server.adapter == wanted:
            return
        old = server.adapter
        if self._adapter is not None:
            await load_adapter(server, *self._adapter)
        server.adapter = wanted
        if old is not None:
            await unload_adapter(server, old)

    async def _unload(self, server: RemoteServer) -> None:
        if server.adapter is not None:
            await unload_adapter(server, server.adapter)
            server.adapter = None

    async def score(self, prompts: Sequence[Sequence[int]]) -> dict[str, list[list[float]]]:
        """By server address the log-probabilities of each prompt's tokens 1..T-1; of every server that can be used."""
        for _ in range(self._retry.max_attempts):
            servers = await self._ready()
            scores = await asyncio.gather(*(self._scores_of(server, prompts) for server in servers))
            found = {server.url: each for server, each in zip(servers, scores, strict=True) if each is not None}
            if found:
                return found
        raise EngineError(self.dispatcher.no_server())

    async def _scores_of(self, server: RemoteServer, prompts: Sequence[Sequence[int]]) -> list[list[float]] | None:
        """One after the other: vLLM's LoRA layers on CPU cannot give prompt log-probabilities to two at once, and the
        server dies of it ("einsum(): ... does not broadcast")."""
        assert server.model is not None
        name, started = server.adapter or server.model.name, self._now()
        try:
            return [
                parse_score(
                    prompt, await server.post("/v1/completions", score_body(prompt, name), self._retry.request_timeout)
                )
                for prompt in prompts
            ]
        except ServerFailed as error:
            server.failed(error, started, self._now(), self._retry.backoff)
            return None
        except EngineError as error:
            raise type(error)(f"{server.url}: {error}") from error

    async def tell(self, path: str) -> None:
        """POST something without a body to every server that can be used."""

        async def one(server: RemoteServer) -> None:
            started = self._now()
            try:
                await server.tell(path, None, SLOW_SECONDS)
            except NotServed as error:
                raise EngineError(f"{server.url} has no {path}: {error}") from error
            except ServerFailed as error:
                server.failed(error, started, self._now(), self._retry.backoff)

        await asyncio.gather(*(one(server) for server in await self._ready()))
