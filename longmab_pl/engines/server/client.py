"""One OpenAI-compatible server: HTTP to and from it, and whether it can be given work."""

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
from longmab_pl.errors import ConfigError, EngineError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""To open a connection."""

CONTROL_SECONDS = 30.0
"""To answer a small question, such as which models are served."""


def server_address(url: str) -> str:
    """`http://host:port` out of what a person writes, with or without a trailing `/v1`.

    Raises:
        ConfigError: it is no http(s) address, or holds a password.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number
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
    """How long to wait after failure k = 1, 2, ...: full jitter below `first * 2^(k-1)`, at most `longest` seconds.

    The jitter keeps many clients of a server that comes back from calling in step.
    """

    first: float = 0.5
    longest: float = 20.0

    def seconds(self, failures: int) -> float:
        ceiling = min(self.longest, self.first * 2.0 ** min(max(failures - 1, 0), 30))
        return ceiling * random.SystemRandom().uniform(0.5, 1.0)


@dataclass(frozen=True)
class RetryPolicy:
    """How hard to try.

    Args:
        patience: seconds in which no server is in order after which all is given up.
        max_attempts: failures of one request after which all is given up: it may be the request that kills servers.
        request_timeout: seconds for one answer.
        backoff: pauses after failures.
    """

    patience: float
    max_attempts: int
    request_timeout: float
    backoff: Backoff = Backoff()


class Credentials:
    """The API key, kept out of every text: of `repr`, of errors, and of what servers say back.

    Args:
        key: sent as a bearer token; "" sends none.
        name: the environment variable that it came from, for errors.
    """

    def __init__(self, key: str, name: str | None) -> None:
        self._key = key
        self.name = name

    def authorization(self) -> str:
        """The header's value, or ""."""
        return f"Bearer {self._key}" if self._key else ""

    def redact(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def __repr__(self) -> str:
        return f"Credentials({self.name})"


class HTTPClient:
    """The connections to all servers of an engine: `openai.AsyncOpenAI`, which speaks to no proxy, repeats nothing by
    itself and sends nothing that this machine's OPENAI_* variables hold."""

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
            # A connection per request: a server closes idle ones when it likes, which would look like a failure.
            default_headers={"Connection": "close"},
        )

    async def request(self, method: str, url: str, body: dict[str, Any] | None, authorization: str) -> str:
        """Return the text of an answer.

        Raises:
            openai.APIStatusError: its status is no success.
            openai.APIConnectionError: there is none.
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
    """A request on its way, with the seed to sample with, and how often it has failed."""

    request: Request
    failures: int = 0


@dataclass(eq=False)
class RemoteServer:
    """The client's view of one server; lives in the event loop's thread.

    Args:
        url: as `server_address` gives it.
        capacity: responses that it works on at once.
    """

    url: str
    capacity: int
    credentials: Credentials
    client: HTTPClient
    model: ServedModel | None = None
    """The base model it serves, once known."""
    max_model_len: int = 0
    """Longest prompt plus response that is used of it, in tokens; 0 until known."""
    adapter: str | None = None
    """Name of the adapter that this engine loaded into it."""
    admitted: bool = False
    """It serves the right model and adapter. Checked again after every failure."""
    load: int = 0
    """Responses it is working on."""
    failures: int = 0
    """In a row; 0 once it has answered."""
    failed_at: float = float("-inf")
    """When the last failure was counted (event loop's clock)."""
    resume_at: float = float("-inf")
    """Nothing is sent before this time (event loop's clock)."""
    trouble: str = ""
    """What went wrong since it last answered, or ""."""
    checking: bool = False
    """A check of model and adapter is under way."""
    unwell: int = 0
    """Health checks in a row that it did not answer."""
    tasks: dict[Job, asyncio.Task[None]] = field(default_factory=dict)
    """Requests that it is working on."""
    moving: set[Job] = field(default_factory=set)
    """Those of them that are being taken away, to be asked elsewhere."""

    def room(self, now: float) -> int:
        """How many more responses it takes: after a failure one request on trial, until that is answered."""
        if not self.admitted or now < self.resume_at:
            return 0
        if self.failures:
            return 0 if self.tasks else 1
        return max(0, self.capacity - self.load)

    def failed(self, error: Exception, started: float, now: float, backoff: Backoff) -> None:
        """Count a failure of something that was `started` then; what fails together counts once."""
        if not self.failures:
            log.warning("the server %s is left out for now: %s", self.url, error)
        self.trouble = str(error)
        self.admitted = False
        if started >= self.failed_at:
            self.failures += 1
            self.failed_at = now
            self.resume_at = now + backoff.seconds(self.failures)

    def pause(self, error: Exception, until: float) -> None:
        """It works, but has too much to do."""
        self.trouble = str(error)
        self.resume_at = max(self.resume_at, until)

    def answered(self) -> None:
        if self.failures:
            log.warning("the server %s answers again", self.url)
        self.failures = 0
        self.unwell = 0
        self.trouble = ""

    async def get(self, path: str, seconds: float = CONTROL_SECONDS) -> Any:
        """A JSON answer to a GET. Errors as of `post`."""
        return parse_json(path, await self._call("GET", path, None, seconds))

    async def post(self, path: str, body: dict[str, Any], seconds: float) -> Any:
        """A JSON answer to a POST.

        Raises:
            ServerFailed: no connection, no answer in time, no JSON, or a status after which another try may do better.
            EngineError: a status after which none will (see `openai_api.status_error`).
        """
        return parse_json(path, await self._call("POST", path, body, seconds))

    async def tell(self, path: str, body: dict[str, Any] | None, seconds: float) -> None:
        """POST something whose answer does not matter. Errors as of `post`."""
        await self._call("POST", path, body, seconds)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> str:
        failure: EngineError
        try:
            async with asyncio.timeout(seconds):  # of the whole answer; the client's own are between two bytes
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
        raise failure  # not inside of `except`: openai's errors hold the request with its key

    async def is_alive(self) -> bool:
        """Whether it answers to /health at all; a 5xx there means that vLLM's engine behind the server has died."""
        try:
            await self._call("GET", "/health", None, CONNECT_SECONDS)
        except (NotServed, ServerBusy):  # it has no such path, or too much to do: alive
            return True
        except ServerFailed:
            return False
        except EngineError:
            return True
        return True
