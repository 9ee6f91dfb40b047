"""The client of one OpenAI-compatible server: HTTP requests, and whether the server can take work."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import openai

from longmab_pl.engines.protocol import Request
from longmab_pl.engines.server.openai_api import (
    NotServed,
    ServedModel,
    ServerBusy,
    ServerFailed,
    parse_json,
    status_error,
)
from longmab_pl.engines.server.prefixes import SentPrefixes, block_keys
from longmab_pl.errors import ConfigError, EngineError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""Seconds to open a connection."""

CONTROL_SECONDS = 30.0
"""Seconds to answer a control request, such as the list of served models."""


def server_address(url: str) -> str:
    """Return `http://host:port` from a user's address, with or without a trailing `/v1`.

    Raises:
        ConfigError: it is not an http(s) address, or contains a password.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # the port is not a number
        good = False
    if parts.username is not None or parts.password is not None:  # not repeated in the message
        raise ConfigError(
            "an address in engine.servers holds a user or password; name a variable in api_key_env instead"
        )
    if not good or parts.query or parts.fragment:
        raise ConfigError(f"engine.servers holds {url!r}; an address looks like http://127.0.0.1:8000")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


@dataclass(frozen=True)
class Backoff:
    """The pause after failure k = 1, 2, ...: full jitter below `first * 2^(k-1)`, at most `longest` seconds.

    The jitter keeps the clients of a recovered server from calling it all at the same moment.
    """

    first: float = 0.5
    longest: float = 20.0

    def seconds(self, failures: int) -> float:
        ceiling = min(self.longest, self.first * 2.0 ** min(max(failures - 1, 0), 30))
        return ceiling * random.SystemRandom().uniform(0.5, 1.0)


@dataclass(frozen=True)
class RetryPolicy:
    """Limits and pauses of repeated attempts.

    Args:
        patience: seconds without a usable server after which the engine fails.
        max_attempts: failures of one request after which the engine fails: the request may be what kills servers.
        request_timeout: seconds for one answer.
        backoff: pauses after failures.
    """

    patience: float
    max_attempts: int
    request_timeout: float
    backoff: Backoff = Backoff()


class Credentials:
    """The API key, kept out of `repr`, of errors, and of the servers' messages.

    Args:
        key: sent as a bearer token; "" sends none.
        name: the environment variable that held it, for errors.
    """

    def __init__(self, key: str, name: str | None) -> None:
        self._key = key
        self.name = name

    def authorization(self) -> str:
        """Return the value of the Authorization header, or ""."""
        return f"Bearer {self._key}" if self._key else ""

    def redact(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def __repr__(self) -> str:
        return f"Credentials({self.name})"


class HTTPClient:
    """The connections to all servers of an engine: an `openai.AsyncOpenAI` without proxies, retries or values of this
    machine's OPENAI_* variables."""

    def __init__(self) -> None:
        self._http = openai.DefaultAsyncHttpxClient(
            trust_env=False,
            follow_redirects=False,  # the key goes to no other host
        )
        self._openai = openai.AsyncOpenAI(
            api_key="given with each request",
            base_url="http://given-with-each-request",
            max_retries=0,
            http_client=self._http,
            timeout=openai.Timeout(None, connect=CONNECT_SECONDS),
            # One connection per request: a server may close idle ones at any time, which would look like a failure.
            default_headers={"Connection": "close"},
        )

    async def request(self, method: str, url: str, body: dict[str, Any] | None, authorization: str) -> str:
        """Return the text of a server's answer.

        Raises:
            openai.APIStatusError: its status is an error.
            openai.APIConnectionError: there was no answer.
        """
        nothing = openai.Omit()
        options: Any = {
            "headers": {
                "Authorization": authorization or nothing,
                "OpenAI-Organization": nothing,
                "OpenAI-Project": nothing,
            }
        }
        if method == "GET":
            return await self._openai.get(url, cast_to=str, options=options)
        return await self._openai.post(url, cast_to=str, body=body, options=options)

    async def close(self) -> None:
        await self._http.aclose()


@dataclass(eq=False)
class Job:
    """A request to be answered, with its sampling seed, the keys of its prompt's beginnings, and the number of its
    failures."""

    request: Request
    failures: int = 0
    prefixes: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.prefixes = block_keys(self.request.prompt_ids)


@dataclass(eq=False)
class RemoteServer:
    """The client's view of one server; used in the event loop's thread only.

    Args:
        url: address, as returned by `server_address`.
        capacity: number of responses that the server generates at once.
    """

    url: str
    capacity: int
    credentials: Credentials
    client: HTTPClient
    model: ServedModel | None = None
    """Base model of the server; None until known."""
    max_model_len: int = 0
    """Longest prompt plus response that this engine sends, in tokens; 0 until known."""
    adapter: str | None = None
    """Name of the adapter that this engine loaded into the server."""
    admitted: bool = False
    """Whether the server has the right model and adapter. Checked again after every failure."""
    load: int = 0
    """Number of responses in progress."""
    failures: int = 0
    """Number of failures in a row; 0 after an answer."""
    failed_at: float = float("-inf")
    """Time when the last failure was counted (event loop's clock, seconds)."""
    resume_at: float = float("-inf")
    """Time before which nothing is sent (event loop's clock, seconds)."""
    trouble: str = ""
    """Last error since the last answer, or ""."""
    checking: bool = False
    """Whether a check of model and adapter is running."""
    unwell: int = 0
    """Number of unanswered health checks in a row."""
    tasks: dict[Job, asyncio.Task[None]] = field(default_factory=dict)
    """Requests in progress, with their tasks."""
    moving: set[Job] = field(default_factory=set)
    """Requests in progress that are being moved to another server."""
    sent: SentPrefixes = field(default_factory=SentPrefixes)
    """Beginnings of prompts that its prefix cache may hold."""

    def room(self, now: float) -> int:
        """Return how many more responses the server takes: after a failure one trial request, until it is answered."""
        if not self.admitted or now < self.resume_at:
            return 0
        if self.failures:
            return 0 if self.tasks else 1
        return max(0, self.capacity - self.load)

    def failed(self, error: Exception, started: float, now: float, backoff: Backoff) -> None:
        """Count a failure of a call that began at `started`; calls that fail together count once."""
        if not self.failures:
            log.warning("the server %s is left out for now: %s", self.url, error)
        self.trouble = str(error)
        self.admitted = False
        self.sent.clear()
        if started >= self.failed_at:
            self.failures += 1
            self.failed_at = now
            self.resume_at = now + backoff.seconds(self.failures)

    def pause(self, error: Exception, until: float) -> None:
        """Send nothing until `until`: the server works, but is overloaded."""
        self.trouble = str(error)
        self.resume_at = max(self.resume_at, until)

    def answered(self) -> None:
        if self.failures:
            log.warning("the server %s answers again", self.url)
        self.failures = 0
        self.unwell = 0
        self.trouble = ""

    async def get(self, path: str, seconds: float = CONTROL_SECONDS) -> Any:
        """Return the JSON answer to a GET. Raises the errors of `post`."""
        return parse_json(path, await self._call("GET", path, None, seconds))

    async def post(self, path: str, body: dict[str, Any], seconds: float) -> Any:
        """Return the JSON answer to a POST.

        Raises:
            ServerFailed: no connection, no answer in time, no JSON, or a status after which a retry may succeed.
            EngineError: a status after which a retry cannot succeed (see `openai_api.status_error`).
        """
        return parse_json(path, await self._call("POST", path, body, seconds))

    async def tell(self, path: str, body: dict[str, Any] | None, seconds: float) -> None:
        """Send a POST and ignore the content of the answer. Raises the errors of `post`."""
        await self._call("POST", path, body, seconds)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> str:
        failure: EngineError
        try:
            async with asyncio.timeout(seconds):  # for the whole answer; the client's own limit is between two bytes
                text = await self.client.request(method, self.url + path, body, self.credentials.authorization())
                return self.credentials.redact(text)
        except TimeoutError:
            failure = ServerFailed(f"no answer to {path} within {seconds:.0f} s")
        except openai.APIStatusError as error:
            said = self.credentials.redact(error.response.text)
            after = error.response.headers.get("Retry-After")
            failure = status_error(error.status_code, said, after, self.credentials.name)
        except openai.APIConnectionError as error:
            cause = self.credentials.redact(str(error.__cause__ or error))
            failure = ServerFailed(f"no connection: {cause or type(error.__cause__).__name__}")
        raise failure  # outside `except`: openai's errors contain the request with its key

    async def is_alive(self) -> bool:
        """Return whether /health answers; a 5xx there means that the vLLM engine behind the server has died."""
        try:
            await self._call("GET", "/health", None, CONNECT_SECONDS)
        except (NotServed, ServerBusy):  # no such path, or overloaded: alive
            return True
        except ServerFailed:
            return False
        except EngineError:
            return True
        return True
