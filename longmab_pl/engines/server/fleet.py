"""A fleet of servers with the same model and adapter; a server that failed is checked before it is used again."""

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
"""Function that sets a server's `model`, and its `adapter` to None if it was lost; raises `EngineError` for another
model."""


class Fleet:
    """Servers that are kept in sync; the `dispatcher` sends them requests.

    Args:
        servers: at least one server.
        check: called before a server gets work, at first and after each failure.
        deliver: called in the loop's thread with every completion, and with the error that ends the engine.
        retry: pauses and limits.
        ended: returns why no server can recover (their processes have ended), or "".
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
        """Check all servers, and return when each has been checked and at least one can be used.

        Raises:
            EngineError: a server has another model or refuses access, or none could be reached within `patience`.
        """
        await self._ready()
        self.dispatcher.start()

    async def close(self) -> None:
        """Unload this engine's adapter from the servers that answer, and stop."""
        await self.dispatcher.stop()
        with contextlib.suppress(TimeoutError):
            known = [self._unload(server) for server in self.servers if server.admitted]
            await asyncio.wait_for(asyncio.gather(*known), 5.0)

    async def _ready(self) -> list[RemoteServer]:
        """Return the usable servers, after one check of each that is not; wait for the first usable one.

        Raises:
            EngineError: a server that answers has an error that waiting cannot fix, or none answers.
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
        """Check a server's model and load the current adapter. Store errors on the server; return a permanent one."""
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
        """Use this adapter from now on, under a new name; None: the base model.

        Raises:
            EngineError: a server that answers cannot load the adapter, or none answers.
        """
        self._adapter = (name, folder) if name is not None and folder is not None else None
        for server in self.servers:
            server.admitted = False
            server.sent.clear()  # cached keys and values are another adapter's
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
        """Return every usable server's log-probabilities of each prompt's tokens 1..T-1, by server address."""
        for _ in range(self._retry.max_attempts):
            servers = await self._ready()
            scores = await asyncio.gather(*(self._scores_of(server, prompts) for server in servers))
            found = {server.url: each for server, each in zip(servers, scores, strict=True) if each is not None}
            if found:
                return found
        raise EngineError(self.dispatcher.no_server())

    async def _scores_of(self, server: RemoteServer, prompts: Sequence[Sequence[int]]) -> list[list[float]] | None:
        """Return one server's scores. Prompts are sent one after the other: vLLM's LoRA layers on CPU cannot compute
        prompt log-probabilities of two at once, and the server dies ("einsum(): ... does not broadcast")."""
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
        """Send a POST without a body to every usable server."""

        async def one(server: RemoteServer) -> None:
            started = self._now()
            try:
                await server.tell(path, None, SLOW_SECONDS)
            except NotServed as error:
                raise EngineError(f"{server.url} has no {path}: {error}") from error
            except ServerFailed as error:
                server.failed(error, started, self._now(), self._retry.backoff)

        await asyncio.gather(*(one(server) for server in await self._ready()))
