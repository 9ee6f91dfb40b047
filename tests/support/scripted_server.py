"""A real HTTP server on loopback that speaks vLLM's part of the OpenAI API; its answers and troubles are scripted."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from prefix_cache import PrefixCache

from longmab_pl.engines.server.background import BackgroundLoop

Trouble = Callable[[dict[str, Any], web.Request], Awaitable[web.StreamResponse]]
"""(body, request) -> an answer to a completion."""


class ScriptedServer:
    """Answers a completion with a text made of model, prompt and seed, after `delay` seconds.

    Args:
        model: folder or name that it serves.
        key: wanted from clients; "" wants none.
        delay: seconds for an answer.
    """

    def __init__(self, model: str, key: str = "", delay: float = 0.01) -> None:
        self.model = model
        self.key = key
        self.delay = delay
        self.max_model_len: int | None = 1000
        self.cache: PrefixCache | None = None
        """Says how many tokens of each prompt are cached; None: always 3."""
        self.trouble: str | Trouble | None = None
        """None, or what to do to completions: a status as "429", "bad json", "wrong form", "abort", "hang", or a
        function that answers in its place."""
        self.trouble_left: int | None = None
        """The number of completions that `trouble` still meets, the others are answered; None: all."""
        self.answers_left: int | None = None
        """The number of completions that are still answered, the others wait without end; None: all."""
        self.used_up = threading.Event()
        """Whether a completion came for which no answer was left."""
        self.together = 1
        """The first answer waits until this number of responses is asked for at once."""
        self.healthy = True
        self.dynamic_lora = True
        self.can_sleep = False
        self.asleep = False
        self.adapters: dict[str, str] = {}
        self.load_error: tuple[int, str] | None = None
        self.lost_replies = 0
        """So many adapters are loaded without the client hearing of it."""
        self.logprob = -1.0
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        """Of the completions that were asked for."""
        self.told: list[str] = []
        self.at_once = self.most_at_once = 0
        self.answered: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.port = 0
        self._background: BackgroundLoop | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # life

    def start(self) -> ScriptedServer:
        """Listen; on the same port again after `kill`."""
        self._background = BackgroundLoop("scripted-server")
        self._background.run(self._start(), 10)
        return self

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        app.router.add_get("/health", self._health)
        app.router.add_get("/is_sleeping", self._is_sleeping)
        app.router.add_post("/sleep", self._sleep)
        app.router.add_post("/wake_up", self._wake)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    def kill(self) -> None:
        """Be gone as a killed process is: connections break, the port is closed, adapters are forgotten."""
        if self._background is None:
            return
        self._background.run(self._kill(), 10)
        self._background.stop()
        self._background = None
        self.adapters.clear()

    async def _kill(self) -> None:
        assert self._runner is not None
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self._runner.cleanup()

    def kill_after(self, answers: int) -> threading.Thread:
        """Answer this many completions, and be killed when the next is asked for; returns the thread that does it."""
        self.answers_left = answers

        def wait_and_kill() -> None:
            self.used_up.wait()
            self.kill()

        thread = threading.Thread(target=wait_and_kill, daemon=True)
        thread.start()
        return thread

    # endpoints

    def _refused(self, request: web.Request) -> web.Response | None:
        said = request.headers.get("Authorization", "")
        if self.key and said != f"Bearer {self.key}":
            return web.json_response({"error": f"Unauthorized: {said}"}, status=401)  # repeats the key, as some do
        return None

    async def _models(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        base = {"id": self.model, "root": self.model, "parent": None, "owned_by": "vllm"}
        if self.max_model_len is not None:
            base["max_model_len"] = self.max_model_len
        more = [{"id": name, "root": path, "parent": self.model} for name, path in self.adapters.items()]
        return web.json_response({"object": "list", "data": [base, *more]})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        if refused := self._refused(request):
            return refused
        body = await request.json()
        with self.lock:
            self.asked.append(body)
            self.headers.append(dict(request.headers))
            self.at_once += body.get("n", 1)
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.delay)
            while self.most_at_once < self.together:
                await asyncio.sleep(0.001)
            return await self._answer(body, request)
        finally:
            with self.lock:
                self.at_once -= body.get("n", 1)

    async def _answer(self, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        trouble = self.trouble
        if trouble is not None and self.trouble_left is not None:
            if self.trouble_left == 0:
                trouble = None
            else:
                self.trouble_left -= 1
        if self.answers_left == 0:
            self.used_up.set()
            await asyncio.sleep(600)
        elif self.answers_left is not None:
            self.answers_left -= 1
        if callable(trouble):
            return await trouble(body, request)
        if trouble == "hang":
            await asyncio.sleep(600)
        if trouble == "bad json":
            return web.Response(text="<html>502 from a proxy</html>")
        if trouble == "wrong form":
            return web.json_response({"choices": [{"text": 3}]})
        if trouble is not None and trouble[:3].isdigit():
            status, _, said = trouble.partition(" ")
            headers = {"Retry-After": "0.2"} if status == "429" else {}
            text = said or f"trouble {request.headers.get('Authorization', '')}"
            return web.json_response({"error": {"message": text}}, status=int(status), headers=headers)
        name = body["model"]
        if name != self.model and name not in self.adapters:
            return web.json_response({"error": {"message": f"The model `{name}` does not exist."}}, status=404)
        prompt = body["prompt"]
        if "prompt_logprobs" in body:
            rows = [None, *({str(token): {"logprob": self.logprob, "rank": 1}} for token in prompt[1:])]
            choice = {"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": rows}
            return web.json_response({"choices": [choice], "usage": {"completion_tokens": 1}})
        reason = "abort" if trouble == "abort" else "stop"
        served = self.adapters.get(name, "base")
        texts = [f"{served}|{prompt}|{body['seed']}|{i}" for i in range(body["n"])]
        if "structured_outputs" in body:
            texts = [json.dumps(_of_schema(body["structured_outputs"]["json"]))] * body["n"]
        choices = [
            {"index": i, "text": text, "finish_reason": reason, "token_ids": [1] * (i + 2)}
            for i, text in enumerate(texts)
        ]
        if "logprobs" in body:
            for choice in choices:
                choice["logprobs"] = {"token_logprobs": [self.logprob] * len(choice["token_ids"])}
        if not body.get("return_token_ids"):
            for choice in choices:
                del choice["token_ids"]
        cached = 3 if self.cache is None else self.cache.take(prompt)
        usage = {"completion_tokens": sum(range(2, body["n"] + 2)), "prompt_tokens_details": {"cached_tokens": cached}}
        self.answered[json.dumps(prompt)] += 1
        return web.json_response({"choices": choices[::-1], "usage": usage})

    async def _load(self, request: web.Request) -> web.Response:
        if not self.dynamic_lora:
            return web.json_response({"detail": "Not Found"}, status=404)
        if self.load_error is not None:
            status, said = self.load_error
            return web.json_response({"error": {"message": said}}, status=status)
        body = await request.json()
        if body["lora_name"] in self.adapters:
            said = f"The lora adapter '{body['lora_name']}' has already been loaded."
            return web.json_response({"error": {"message": said}}, status=400)
        self.adapters[body["lora_name"]] = body["lora_path"]
        if self.lost_replies:
            self.lost_replies -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="Success")

    async def _unload(self, request: web.Request) -> web.Response:
        del self.adapters[(await request.json())["lora_name"]]
        return web.Response(text="Success")

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _is_sleeping(self, request: web.Request) -> web.Response:
        if not self.can_sleep:
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.json_response({"is_sleeping": self.asleep})

    async def _sleep(self, request: web.Request) -> web.Response:
        self.told.append(f"sleep {request.query['level']}")
        self.asleep = True
        return web.json_response({})

    async def _wake(self, request: web.Request) -> web.Response:
        self.told.append("wake")
        self.asleep = False
        return web.json_response({})


@contextmanager
def scripted_servers(count: int, model: str, **settings: Any) -> Iterator[list[ScriptedServer]]:
    """Running servers, gone afterwards."""
    servers = [ScriptedServer(model, **settings).start() for _ in range(count)]
    try:
        yield servers
    finally:
        for server in servers:
            server.kill()


if __name__ == "__main__":  # as a process of its own, in place of `vllm serve`: MODEL PORT
    alone = ScriptedServer(sys.argv[1], key=os.environ.get("VLLM_API_KEY", ""))
    alone.port = int(sys.argv[2])
    alone.start()
    print("Error: nothing yet", flush=True)
    time.sleep(600)


def _of_schema(schema: dict[str, Any]) -> Any:
    """Return the smallest value of an object's schema with whole numbers."""
    return {name: kind.get("minimum", 0) for name, kind in schema["properties"].items()}
