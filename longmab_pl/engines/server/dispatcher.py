"""Distribution of one queue of requests to many servers, with retries.

Runs inside one event loop. A request goes to the server that was sent the longest beginning of its prompt, which is in
that server's prefix cache. While that server is full, later requests go first; if none fits, the first one goes to the
server with the most room. A failed request is sent again, to another server if there is one. A server that fails is
paused (longer with each failure in a row, with jitter), then checked for the right model and adapter. It then gets a
single trial request, and its full load once that is answered. Servers that stop answering without closing their
connections are found by health checks, and their requests move to others. The engine fails only if no server has been
usable for `patience` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from longmab_pl.engines.protocol import Completion
from longmab_pl.engines.server.client import Job, RemoteServer, RetryPolicy
from longmab_pl.engines.server.openai_api import ServerBusy, ServerFailed, completion_body, parse_completion
from longmab_pl.errors import EngineError

HEALTH_SECONDS = 10.0
"""Seconds between health checks of servers that have work."""

UNWELL = 3
"""Number of unanswered health checks in a row after which a server's requests move to others."""

TICK_SECONDS = 0.2
"""Seconds between checks of paused servers while requests wait."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 60.0
"""Limits to which a Retry-After is clipped, in seconds."""

LOOK_AHEAD = 64
"""Waiting requests that are looked at for one whose prompt's beginning is known to a server with room."""

BALANCE = 1.25
"""Load of a server, as a multiple of the servers' mean, above which another takes a request whose beginning it has."""


class Dispatcher:
    """A dispatcher of requests to servers, as the module's docstring describes.

    Args:
        servers: at least one server.
        admit: checks a server that is not admitted and stores the result on it; raises nothing.
        deliver: called in the loop's thread with every completion, and with the error that ends the engine.
        retry: pauses and limits.
        ended: returns why no server can recover (their processes have ended), or "".
    """

    def __init__(
        self,
        servers: Sequence[RemoteServer],
        admit: Callable[[RemoteServer], Awaitable[object]],
        deliver: Callable[[Completion | EngineError], None],
        retry: RetryPolicy,
        ended: Callable[[], str],
    ) -> None:
        self.servers = servers
        self._admit = admit
        self._deliver = deliver
        self._retry = retry
        self._ended = ended
        self._queue: deque[Job] = deque()
        self._delayed: dict[Job, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._well_at = self._now()  # when a server was last usable
        self._over = False

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def start(self) -> None:
        self._spawn(self._dispatch())
        self._spawn(self._watch())

    async def stop(self) -> None:
        """Drop all requests and stop."""
        self._over = True
        await self.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task

    async def _readmit(self, server: RemoteServer) -> None:
        await self._admit(server)
        self._changed.set()

    def no_server(self) -> str:
        """Return the message that no server can answer, with the likely fix."""
        why = self._ended() or f"no server could be used for {self._retry.patience:g} s (engine.patience_s)"
        lines = "".join(f"\n  {server.url}: {server.trouble or 'did not answer'}" for server in self.servers)
        return f"{why}; start the servers again and repeat the command: finished answers are kept{lines}"

    def submit(self, job: Job) -> None:
        if not self._queue and not self._delayed and not any(server.tasks for server in self.servers):
            self._well_at = self._now()  # patience counts from the first waiting request
        self._queue.append(job)
        self._changed.set()

    async def abort(self) -> None:
        """Drop every unfinished request; closing its connection makes vLLM stop working on it."""
        self._queue.clear()
        for server in self.servers:
            server.moving.clear()
        for timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        tasks = [task for server in self.servers for task in server.tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _dispatch(self) -> None:
        """Send out requests whenever something has changed, and check servers that are not admitted."""
        while not self._over:
            self._changed.clear()
            now = self._now()
            while (found := self._next(now)) is not None:
                self._send(*found)
            waiting = bool(self._queue or self._delayed)
            busy = any(server.tasks or server.checking for server in self.servers)
            if any(server.admitted and not server.trouble for server in self.servers):
                self._well_at = now
            elif waiting and not busy and (self._ended() or self._known_lost(now)):
                self._give_up(EngineError(self.no_server()))
            for server in self.servers:
                if waiting and not server.admitted and not server.checking and now >= server.resume_at:
                    self._spawn(self._readmit(server))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), TICK_SECONDS if waiting or busy else None)

    def _next(self, now: float) -> tuple[Job, RemoteServer] | None:
        """Remove a request from the queue and return it with its server; None: there is no request, or no room.

        The first request goes whose longest known beginning is at a server with room, or nowhere. If there is none
        among the first `LOOK_AHEAD`, the first request of all goes to the server with the most room, and its beginning
        is known there too from then on. So no room stays empty, and no request waits longer than for its server's next
        answer. A server above `BALANCE` times the mean load counts as full (consistent hashing with bounded loads,
        Mirrokni, Thorup and Zadimoghaddam 2018).
        """
        free = {server: room for server in self.servers if (room := server.room(now))}
        if not self._queue or not free:
            return None
        loads = [server.load for server in self.servers if server.admitted]
        for place, job in enumerate(itertools.islice(self._queue, LOOK_AHEAD)):
            n = job.request.n
            most = math.ceil(BALANCE * (sum(loads) + n) / len(loads))
            fitting = [
                server for server in self._homes(job) if server in free and (not server.load or server.load + n <= most)
            ]
            if fitting:
                del self._queue[place]
                return job, max(fitting, key=free.__getitem__)
        return self._queue.popleft(), max(free, key=free.__getitem__)

    def _homes(self, job: Job) -> list[RemoteServer]:
        """Return the servers that were sent the longest beginning of a request's prompt; all of them if none was."""
        shared = {server: server.sent.shared(job.prefixes) for server in self.servers if server.admitted}
        longest = max(shared.values(), default=0)
        return [server for server, blocks in shared.items() if blocks == longest]

    def _known_lost(self, now: float) -> bool:
        """Return whether patience is over and each server has failed since its last answer, so the error can say how.

        A late answer clears what is known of a server; it is checked once more before it is given up.
        """
        return now - self._well_at > self._retry.patience and all(server.trouble for server in self.servers)

    def _give_up(self, error: EngineError) -> None:
        if self._over:
            return
        self._over = True
        self._queue.clear()
        for server in self.servers:
            for task in server.tasks.values():
                task.cancel()
        self._changed.set()
        self._deliver(error)

    def _send(self, job: Job, server: RemoteServer) -> None:
        """Start a request; its room is freed when it ends, also if it is cancelled before it begins."""

        def over(_: asyncio.Task[Any]) -> None:
            server.load -= job.request.n
            del server.tasks[job]
            self._changed.set()

        server.load += job.request.n
        server.sent.add(job.prefixes)
        server.tasks[job] = self._spawn(self._answer(job, server))
        server.tasks[job].add_done_callback(over)

    async def _answer(self, job: Job, server: RemoteServer) -> None:
        request, started = job.request, self._now()
        assert server.model is not None
        body = completion_body(request, model=server.adapter or server.model.name, vllm=server.model.vllm)
        try:
            reply = await server.post("/v1/completions", body, self._retry.request_timeout)
            completion = parse_completion(request, reply)
        except ServerBusy as error:
            pause = self._retry.backoff.seconds(1) if error.retry_after is None else error.retry_after
            server.pause(error, self._now() + min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE))
            self._queue.appendleft(job)
        except ServerFailed as error:
            server.failed(error, started, self._now(), self._retry.backoff)
            self._again(job, server, error)
        except EngineError as error:
            self._give_up(type(error)(f"request {request.id!r} at {server.url}: {error}"))
        except Exception as error:  # a defect here must not leave the caller waiting
            self._give_up(EngineError(f"request {request.id!r} at {server.url}: {type(error).__name__}: {error}"))
        except asyncio.CancelledError:
            if job not in server.moving:
                raise
            server.moving.discard(job)
            self._again(job, server, ServerFailed(server.trouble))
        else:
            server.answered()
            self._deliver(completion)

    def _again(self, job: Job, server: RemoteServer, error: ServerFailed) -> None:
        """Return a failed request to the front of the queue, after a pause."""
        job.failures += 1
        if job.failures >= self._retry.max_attempts:
            self._give_up(
                EngineError(
                    f"request {job.request.id!r} failed {job.failures} times (engine.max_attempts), at last at "
                    f"{server.url}: {error}; look at the servers' logs and repeat the command: finished answers "
                    "are kept"
                )
            )
            return

        def requeue() -> None:
            del self._delayed[job]
            self._queue.appendleft(job)
            self._changed.set()

        self._delayed[job] = asyncio.get_running_loop().call_later(self._retry.backoff.seconds(job.failures), requeue)

    async def _watch(self) -> None:
        """Find servers that stopped answering without closing their connections, and move their requests."""
        while not self._over:
            await asyncio.sleep(HEALTH_SECONDS)
            await asyncio.gather(*(self._look_after(server) for server in self.servers if server.tasks))

    async def _look_after(self, server: RemoteServer) -> None:
        if await server.is_alive():
            server.unwell = 0
            return
        server.unwell += 1
        if server.unwell >= UNWELL and server.tasks:
            error, now = ServerFailed("it does not answer to health checks"), self._now()
            server.failed(error, now, now, self._retry.backoff)
            server.moving.update(server.tasks)
            for task in server.tasks.values():
                task.cancel()
