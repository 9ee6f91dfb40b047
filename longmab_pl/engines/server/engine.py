"""Rollouts on one or more OpenAI-compatible servers (`vllm serve`), on this machine or others.

Networking runs in a thread with an event loop (`fleet.py`); `poll` returns what has arrived. So a plain loop uses any
number of servers, and the training process needs no GPU memory for sampling. This is the engine for multi-process
training (DDP, FSDP), where vLLM cannot run inside a training process.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import os
import queue
import re
import secrets
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from longmab_pl.checks import at_least, positive
from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.engines.request_checks import check_scorable
from longmab_pl.engines.server.background import BackgroundLoop
from longmab_pl.engines.server.client import Credentials, HTTPClient, Job, RemoteServer, RetryPolicy, server_address
from longmab_pl.engines.server.fleet import Fleet
from longmab_pl.engines.server.identity import find_model, vocabulary_size
from longmab_pl.engines.server.openai_api import NotServed, parse_models, parse_sleeping
from longmab_pl.engines.server.spawn import ChildServers, LaunchServers
from longmab_pl.engines.state import EngineState
from longmab_pl.errors import ConfigError, EngineError
from longmab_pl.models.adapter_files import check_adapter

POLL_SECONDS = 0.5
"""Seconds after which `poll` returns even with nothing finished, so that the caller can update its progress bar."""

LARGEST_DISAGREEMENT = 1.0
"""Root mean square difference of two servers' log-probabilities of the same tokens, in nats, above which they cannot
have the same weights. bfloat16 kernels differ by about 0.1; a trained adapter changes answers by more than 1."""

_SETTINGS = (
    "_addresses", "_launch", "_concurrency_per_server", "_configured_len", "_served_model", "_api_key_env",
    "_structured_output", "_sleeps", "_request_timeout", "_patience", "_max_attempts", "_seed",
)  # fmt: skip
"""Attributes that hold an engine's settings; the others belong to one run of it."""


class ServerEngine:
    """An `Engine` over OpenAI-compatible servers.

    If a server dies, no completion is lost: its requests are sent to other servers. The server is used again when it
    answers and has the right model and adapter. If no server is left, the run ends with an `EngineError`; finished
    completions are in the journal, and the same command continues.

    A request's seed gives the same random numbers as in `VLLMEngine`.

    Adapters are loaded through vLLM's dynamic endpoint: the servers need VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and
    --enable-lora, and must see the run's folder under the same path. Without these the engine can only use the base
    model (evaluation, a first round).

    Args:
        servers: addresses, such as ["http://127.0.0.1:8000"], with or without a trailing /v1.
        launch: start `vllm serve` processes on this machine instead; they end with this process.
        concurrency_per_server: number of responses that one server generates at once (its --max-num-seqs, or a little
            more).
        max_model_len: longest prompt plus response, in tokens; None: the servers' own limit.
        served_model: the servers' name of the policy's model, if it is not the folder or hub name
            (--served-model-name).
        api_key_env: name of the environment variable that holds the servers' API key; None: no key.
        structured_output: whether the servers follow JSON schemas (`response_format`); None: if they are vLLM's.
        sleep: put the servers to sleep during training, to share a GPU with them. They need VLLM_SERVER_DEV_MODE=1 and
            --enable-sleep-mode (`launch` sets both), and no other users.
        request_timeout_s: seconds for one answer.
        patience_s: seconds without any usable server after which the run ends.
        max_attempts: failures of the same request after which the run ends.
        seed: seed for requests without one.

    Raises:
        ConfigError: a setting is out of range, or two contradict each other.
    """

    def __init__(
        self,
        servers: list[str] | None = None,
        launch: LaunchServers | None = None,
        concurrency_per_server: int = 32,
        max_model_len: int | None = None,
        served_model: str | None = None,
        api_key_env: str | None = None,
        structured_output: bool | None = None,
        sleep: bool = False,
        request_timeout_s: float = 1800.0,
        patience_s: float = 120.0,
        max_attempts: int = 6,
        seed: int = 0,
    ) -> None:
        if bool(servers) == (launch is not None):
            raise ConfigError("give either engine.servers (a list of addresses) or engine.launch")
        self._addresses = [server_address(url) for url in servers or ()]
        if len(set(self._addresses)) < len(self._addresses):
            raise ConfigError("engine.servers names an address twice; raise concurrency_per_server instead")
        at_least("engine.concurrency_per_server", concurrency_per_server, 1)
        at_least("engine.max_attempts", max_attempts, 1)
        at_least("engine.seed", seed, 0)
        at_least("engine.max_model_len", max_model_len, 2, "it must be at least 2", or_null=True)
        positive("engine.request_timeout_s", request_timeout_s)
        positive("engine.patience_s", patience_s)
        if api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", api_key_env):
            # Not repeated in the message: it may be the key itself.
            raise ConfigError(
                "engine.api_key_env must be the name of an environment variable that holds the key (letters, digits "
                "and _), such as VLLM_API_KEY; keys themselves never go into a config"
            )
        self._launch = launch
        self._concurrency_per_server = concurrency_per_server
        self._configured_len = max_model_len
        self._served_model = served_model
        self._api_key_env = api_key_env
        self._structured_output = structured_output
        self._sleeps = sleep
        self._request_timeout = request_timeout_s
        self._patience = patience_s
        self._max_attempts = max_attempts
        self._seed = seed
        self._reset()

    def _reset(self) -> None:
        """Clear everything that belongs to one run of the engine."""
        self._state = EngineState(self._seed)
        self._vocabulary = 0
        self._max_model_len = 0  # 0: not known yet
        self._failure: EngineError | None = None  # as `poll` raises it
        self._name = f"longmab-{secrets.token_hex(4)}"  # several runs may share a server
        self._numbers = itertools.count(1)
        self._arrived: queue.SimpleQueue[Completion | EngineError] = queue.SimpleQueue()
        self._background: BackgroundLoop | None = None
        self._fleet: Fleet | None = None
        self._client: HTTPClient | None = None
        self.children: ChildServers | None = None
        """The servers that `start` started, with their logs; None if the servers were running already."""
        self._finalizer: weakref.finalize | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings: a copy, also in another process, is an engine that has not started."""
        return {name: vars(self)[name] for name in _SETTINGS}

    def __setstate__(self, settings: dict[str, Any]) -> None:
        vars(self).update(settings)
        self._reset()

    @property
    def addresses(self) -> list[str]:
        """Addresses of the servers that run already; empty if `start` launches its own."""
        return list(self._addresses)

    def share(self, number: int, of: int) -> ServerEngine:
        """Return an engine, not started, with every `of`-th server, from server `number` (0 to `of` - 1) on."""
        part = copy.copy(self)
        part._addresses = self._addresses[number::of]
        return part

    # ------------------------------------------------------------------ life

    @property
    def concurrency(self) -> int:
        """Number of responses that all servers together generate at once; with several servers a quarter more, among
        which a server with room finds a request whose prompt's beginning it has (`Dispatcher`)."""
        servers = self._launch.servers if self._launch is not None else len(self._addresses)
        at_once = self._concurrency_per_server * servers
        return at_once + at_once // 4 if servers > 1 else at_once

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus response, in tokens: the smallest limit of the servers. Before `start`: as configured,
        0 if the servers' own limit applies."""
        return self._max_model_len or self._configured_len or 0

    @property
    def weight_format(self) -> str:
        """The settings that the servers are started with, or the served model's name of servers that run already."""
        if self._launch is None:
            return f"servers, {self._served_model}" if self._served_model else "servers"
        return " ".join(["servers,", self._launch.dtype, *(self._launch.args or ())])

    @property
    def structured_output(self) -> bool:
        """Whether the servers follow JSON schemas: as configured, or whether all that are known are vLLM's."""
        if self._structured_output is not None:
            return self._structured_output
        known = [server.model for server in self._fleet.servers if server.model] if self._fleet is not None else []
        return bool(known) and all(model.vllm for model in known)

    @property
    def started(self) -> bool:
        return self._state.started

    def start(self, model: str) -> None:
        """Connect to the servers (or start them), which must serve `model`, a local folder or hub name.

        Raises:
            ConfigError: the API key's variable is not set.
            EngineError: no server answers, one has another model, or one refuses access.
        """
        if self._state.runs(model):
            return
        self.close()
        self._leave_gpu()
        key = self._api_key()
        self._vocabulary = vocabulary_size(model)
        try:
            if self._launch is not None:
                self.children = ChildServers(
                    self._launch,
                    model,
                    key=key,
                    concurrency=self._concurrency_per_server,
                    max_model_len=self._configured_len,
                    sleep=self._sleeps,
                )
                key = self.children.key
                # Runs however the process ends; the children's supervisor handles a kill -9.
                self._finalizer = weakref.finalize(self, self.children.stop)
            self._background = BackgroundLoop("longmab-servers")
            self._background.run(self._open(model, Credentials(key, self._api_key_env)))
        except BaseException:
            self._close(keep_logs=True)
            raise
        self._state.model = model

    def _api_key(self) -> str:
        if self._api_key_env is None:
            return ""
        key = os.environ.get(self._api_key_env, "").strip()
        if not key:
            raise ConfigError(
                f"engine.api_key_env names the environment variable {self._api_key_env}, which is not set; "
                f"export {self._api_key_env}=... or remove the setting"
            )
        return key

    async def _open(self, model: str, credentials: Credentials) -> None:
        client = self._client = HTTPClient()
        urls = self._addresses if self.children is None else self.children.urls
        ended = self.children.ended if self.children is not None else lambda: ""
        fleet = Fleet(
            [RemoteServer(url, self._concurrency_per_server, credentials, client) for url in urls],
            functools.partial(self._check, model),
            self._arrived.put,
            RetryPolicy(self._patience, self._max_attempts, self._request_timeout),
            ended,
        )
        self._fleet = fleet  # before it opens, so that `close` can close it
        await fleet.open()
        limits = [server.max_model_len for server in fleet.servers if server.admitted]
        self._max_model_len = min(limits)

    async def _check(self, model: str, server: RemoteServer) -> None:
        """Check that a server has `model`; runs in the loop's thread.

        Raises:
            ServerFailed: the server does not answer.
            EngineError: it has another model or a shorter context, or cannot sleep although it should.
        """
        try:
            models = parse_models(await server.get("/v1/models"))
        except NotServed as error:
            raise EngineError(f"it is no OpenAI-compatible server: {error}") from error
        server.model = find_model(models, model, self._served_model)
        if server.adapter not in [each.name for each in models]:
            server.adapter = None  # it was restarted
        limit = server.model.max_model_len or self._configured_len
        if limit is None:
            raise EngineError("it does not say how long a prompt may be; set engine.max_model_len")
        server.max_model_len = min(limit, self._configured_len or limit)
        if server.max_model_len < self._max_model_len:
            raise EngineError(f"it takes {limit} tokens, the other servers took {self._max_model_len}")
        if self._sleeps:
            await self._check_sleep(server)

    async def _check_sleep(self, server: RemoteServer) -> None:
        try:
            asleep = parse_sleeping(await server.get("/is_sleeping"))
        except NotServed as error:
            raise EngineError(
                "engine.sleep is on, but it cannot be put to sleep; start it with VLLM_SERVER_DEV_MODE=1 in its "
                "environment and `vllm serve MODEL --enable-sleep-mode`, or turn engine.sleep off"
            ) from error
        if asleep and not self._state.asleep:  # left asleep by a run that was killed during training
            await server.tell("/wake_up", None, self._request_timeout)

    def close(self) -> None:
        """Disconnect from the servers, and stop those that `start` started. Safe to call twice and at any time."""
        self._close(keep_logs=self._failure is not None)

    def _close(self, keep_logs: bool) -> None:
        background, fleet, client = self._background, self._fleet, self._client
        if background is not None:
            with contextlib.suppress(Exception):
                if fleet is not None:
                    background.run(fleet.close(), 15.0)
            with contextlib.suppress(Exception):
                if client is not None:
                    background.run(client.close(), 5.0)
            background.stop()
        if self._finalizer is not None:
            self._finalizer.detach()
        if self.children is not None:
            self.children.stop(keep_logs)
        self._reset()

    def __enter__(self) -> ServerEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sleep(self) -> None:
        """Free the servers' GPU memory for training if `sleep=True`; otherwise free nothing.

        Raises:
            EngineError: requests are in flight, or a server cannot sleep.
        """
        self._state.check_idle("sleep")
        if self._sleeps and not self._state.asleep:
            background, fleet = self._running()
            background.run(fleet.tell("/sleep?level=1"))
            self._state.asleep = True

    def wake(self) -> None:
        """Wake the servers after `sleep`."""
        background, fleet = self._running()
        if self._state.asleep:
            self._leave_gpu()
            background.run(fleet.tell("/wake_up"))
            self._state.asleep = False

    def _leave_gpu(self) -> None:
        """Free the GPU memory that torch keeps unused in this process, if servers share the GPU with training."""
        if self._sleeps and torch.cuda.is_available():
            torch.cuda.empty_cache()

    # ------------------------------------------------------------------ requests

    def submit(self, request: Request) -> None:
        """Queue a request; the current adapter answers it.

        Raises:
            PromptTooLong: prompt + max_tokens exceeds `max_model_len`; nothing was queued.
            EngineError: the id is in flight already, the prompt is empty or holds a token outside the vocabulary, or
                the engine is not running or can no longer be used.
        """
        background, fleet = self._running()
        admitted = self._state.admit(
            request, self.max_model_len, self._vocabulary, structured_output=self.structured_output
        )
        background.call(fleet.dispatcher.submit, Job(admitted))

    def poll(self) -> list[Completion]:
        """Wait until a completion has arrived or half a second has passed, and return what has arrived.

        Raises:
            EngineError: no server is left, or one refuses a request; completions that had arrived are returned first.
        """
        if self._failure is None:
            self._state.check_awake()
        completions: list[Completion] = []
        while self._state.in_flight and self._failure is None:
            try:
                arrived = self._arrived.get(timeout=0.0 if completions else POLL_SECONDS)
            except queue.Empty:
                break
            if isinstance(arrived, EngineError):
                self._fail(arrived)
            else:
                del self._state.in_flight[arrived.request_id]
                completions.append(arrived)
        if self._failure is not None and not completions:
            raise self._failure
        return completions

    def abort(self) -> None:
        """Drop every unfinished request. Do nothing if the engine is not running."""
        if self._background is not None and self._fleet is not None and self._state.in_flight:
            self._background.run(self._fleet.dispatcher.abort())
            while not self._arrived.empty():
                arrived = self._arrived.get()
                if isinstance(arrived, EngineError):
                    self._fail(arrived)
        self._state.in_flight.clear()

    def _fail(self, error: EngineError) -> None:
        self._failure, self._state.broken = error, str(error)

    def score(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return natural-log probabilities of each prompt's tokens 1..T-1 given those before, with the current adapter.

        Every server scores the prompts, so that one with other weights is found.

        Args:
            prompts: token ids, each of length T >= 2.

        Returns:
            one list of T - 1 values for each prompt, in order.

        Raises:
            PromptTooLong: T + 1 exceeds `max_model_len`.
            EngineError: requests are in flight, a prompt is shorter than two tokens, a server returns no prompt
                log-probabilities, or two servers disagree.
        """
        self._state.check_awake()
        self._state.check_idle("score")
        background, fleet = self._running()
        check_scorable(prompts, self.max_model_len, self._vocabulary)
        if not prompts:
            return []
        scores = background.run(fleet.score(prompts))
        vectors = {url: np.concatenate(each) for url, each in scores.items()}
        first, *others = vectors
        for other in others:
            apart = float(np.sqrt(np.mean((vectors[first] - vectors[other]) ** 2)))
            if apart > LARGEST_DISAGREEMENT:
                raise EngineError(
                    f"the servers {first} and {other} do not serve the same weights: their log-probabilities of the "
                    f"same tokens differ by {apart:.2f} nats (root mean square)"
                )
        return scores[first]

    # ------------------------------------------------------------------ adapter

    def sync(self, adapter: Path | None) -> None:
        """Use this PEFT adapter folder from now on (None: the base model).

        Every adapter gets a new name, so no server can answer with an older one or its cached prompts.

        Raises:
            EngineError: requests are in flight, the folder has no adapter, the servers' endpoint is not enabled, or a
                server cannot load the adapter.
        """
        self._state.check_awake()
        self._state.check_idle("sync")
        background, fleet = self._running()
        if adapter is not None:
            check_adapter(adapter)
        name = None if adapter is None else f"{self._name}-{next(self._numbers)}"
        background.run(fleet.sync(name, None if adapter is None else adapter.resolve()))

    # ------------------------------------------------------------------ state

    def _running(self) -> tuple[BackgroundLoop, Fleet]:
        self._state.check_running()
        assert self._background is not None
        assert self._fleet is not None
        return self._background, self._fleet
