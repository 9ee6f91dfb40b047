"""Bodies of requests to an OpenAI-compatible server, and parsers of its answers: pure functions, no network.

Written for vLLM's server. Fields beyond OpenAI's own (token ids of the answers, sampling defaults that a model's
`generation_config.json` would otherwise change, prompt log-probabilities) are sent to vLLM only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.engines.text import whole_characters
from longmab_pl.errors import EngineError, PromptTooLong
from longmab_pl.shown import shown


class ServerFailed(EngineError):
    """Error of a server that did not answer, or not validly; another server, or a later retry, may succeed."""


class ServerBusy(ServerFailed):
    """Error of a server that asks for a pause (HTTP 429, or 503 with Retry-After), in seconds if it names them."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotServed(ServerFailed):
    """Error of a server without the requested model or adapter, for example after a restart."""


@dataclass(frozen=True)
class ServedModel:
    """One entry of `GET /v1/models`.

    Args:
        name: the model's name in requests.
        root: the folder or hub name that it was loaded from, if the server reports it.
        parent: the base model's name if this is an adapter.
        max_model_len: longest prompt plus response, in tokens, if the server reports it.
        vllm: whether the server is vLLM.
    """

    name: str
    root: str | None
    parent: str | None
    max_model_len: int | None
    vllm: bool


def parse_json(path: str, text: str) -> Any:
    """Return the JSON value of an answer.

    Raises:
        ServerFailed: the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ServerFailed(f"{path} answered with something that is not JSON: {excerpt(text) or 'nothing'}") from None


def parse_models(reply: Any) -> list[ServedModel]:
    """Return the models in an answer to `GET /v1/models`.

    Raises:
        ServerFailed: it has another form.
    """
    with _form("/v1/models"):
        return [
            ServedModel(
                name=_typed(entry["id"], str),
                root=_optional(entry.get("root"), str),
                parent=_optional(entry.get("parent"), str),
                max_model_len=_optional(entry.get("max_model_len"), int),
                vllm=entry.get("owned_by") == "vllm",
            )
            for entry in _typed(reply["data"], list)
        ]


def parse_sleeping(reply: Any) -> bool:
    """Return the value in an answer to `GET /is_sleeping`. Raises `ServerFailed` if it has another form."""
    with _form("/is_sleeping"):
        return _typed(reply["is_sleeping"], bool)


def completion_body(request: Request, *, model: str, vllm: bool) -> dict[str, Any]:
    """Return the body of `POST /v1/completions` for a request of token ids with a sampling seed."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(request.prompt_ids),
        "n": request.n,
        "seed": request.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p if sampling.temperature > 0 else 1.0,
        "presence_penalty": sampling.presence_penalty,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if request.schema is not None:
        schema = json.loads(request.schema)
        if vllm:
            body["structured_outputs"] = {"json": schema}
        else:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": schema, "strict": True},
            }
    if request.logprobs:
        body["logprobs"] = 0
    if vllm:
        # The model's generation_config must not change the sampling; the in-process engine does not read it.
        body |= {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "frequency_penalty": 0.0}
        body["return_token_ids"] = True
    return body


def parse_completion(request: Request, reply: Any) -> Completion:
    """Return the completion in an answer to a request; every field's type and range is checked.

    A server that returns no token ids returns only the sum of the responses' lengths in tokens. It is then divided
    among the responses in proportion to the lengths of their texts.

    Raises:
        ServerFailed: the answer has another form, a wrong number of responses, or an incomplete one.
    """
    with _form("its completion"):
        choices = sorted(_typed(reply["choices"], list), key=lambda choice: _typed(choice["index"], int))
        indices = [choice["index"] for choice in choices]
        texts = tuple(_typed(choice["text"], str) for choice in choices)
        reasons = [choice["finish_reason"] for choice in choices]
        usage = _optional(reply.get("usage"), dict) or {}
        tokens = _token_ids(choices)
        lengths = tuple(map(len, tokens)) or _shared_out(usage.get("completion_tokens"), texts)
        details = _optional(usage.get("prompt_tokens_details"), dict) or {}
        cached = _count(details.get("cached_tokens") or 0)
        logprobs = _mean_logprobs(choices) if request.logprobs else ()
    if indices != list(range(request.n)):
        raise ServerFailed(
            f"it gave {len(texts)} responses where {request.n} were asked for, numbered {excerpt(str(indices))}"
        )
    for reason in reasons:
        if reason not in ("stop", "length"):
            raise ServerFailed(f"a response ended with {excerpt(repr(reason))} and is not whole")
    if any(text != whole_characters(text) for text in texts):
        raise ServerFailed("a response holds half of a character (a lone surrogate)")
    return Completion(
        request_id=request.id,
        texts=texts,
        finish_reasons=tuple(reasons),
        completion_tokens=lengths,
        prompt_tokens=len(request.prompt_ids),
        cached_tokens=cached,
        token_ids=tokens,
        mean_logprobs=logprobs,
    )


def _token_ids(choices: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, ...], ...]:
    """Return the token ids of each response; empty if the server does not return them for all."""
    if any(choice.get("token_ids") is None for choice in choices):
        return ()
    return tuple(tuple(map(_count, _typed(choice["token_ids"], list))) for choice in choices)


def _mean_logprobs(choices: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """Return the mean log-probability of each response's tokens; empty if the server does not report them for all."""
    if any(choice.get("logprobs") is None for choice in choices):
        return ()
    means = []
    for choice in choices:
        values = [float(_typed(v, float)) for v in _typed(choice["logprobs"]["token_logprobs"], list) if v is not None]
        mean = sum(values) / len(values) if values else 0.0
        if not math.isfinite(mean) or mean > LARGEST_LOGPROB:
            raise ValueError(f"{excerpt(repr(mean))} is no mean log-probability")
        means.append(mean)
    return tuple(means)


def _shared_out(total: Any, texts: Sequence[str]) -> tuple[int, ...]:
    """Return a total number of tokens divided among the responses in proportion to the lengths of their texts."""
    total, characters = _count(total), sum(map(len, texts))
    if len(texts) == 1 or not characters:
        return (total,) + (0,) * (len(texts) - 1)
    ends = [0]
    for text in texts:
        ends.append(ends[-1] + len(text))
    marks = [round(total * end / characters) for end in ends]  # so that the parts add up to the total
    return tuple(after - before for before, after in itertools.pairwise(marks))


@contextlib.contextmanager
def _form(what: str) -> Iterator[None]:
    """Raise `ServerFailed` in place of any error from reading an answer's fields."""
    try:
        yield
    except (TypeError, KeyError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise ServerFailed(f"{what} has an unexpected form: {type(error).__name__}: {excerpt(str(error))}") from error


T = TypeVar("T")


def _typed(value: Any, kind: type[T]) -> T:
    """Return the value if it is of this type (a bool is not an int)."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{excerpt(repr(value))} where {kind.__name__} is meant")
    return value


def _optional(value: Any, kind: type[T]) -> T | None:
    return None if value is None else _typed(value, kind)


def _count(value: Any) -> int:
    if _typed(value, int) < 0:
        raise ValueError(f"{value} where a number of tokens or a token id is meant")
    return int(value)


def score_body(prompt: Sequence[int], model: str) -> dict[str, Any]:
    """Return the body of `POST /v1/completions` that requests the prompt's log-probabilities from vLLM."""
    return {"model": model, "prompt": list(prompt), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}


def parse_score(prompt: Sequence[int], reply: Any) -> list[float]:
    """Return the natural-log probabilities of tokens 1..T-1 of a prompt of T tokens.

    Raises:
        EngineError: the server returns none.
        ServerFailed: they do not belong to this prompt, or are not log-probabilities.
    """
    with _form("its completion"):
        rows = _optional(reply["choices"][0].get("prompt_logprobs"), list)
    if rows is None:
        raise EngineError(
            "it gives no prompt log-probabilities, so the weight sync cannot be verified; serve with vLLM, or set "
            "data.verify_sync: false"
        )
    with _form("its prompt log-probabilities do not fit the prompt: the answer"):
        scores = [row[str(token)]["logprob"] for row, token in zip(rows[1:], prompt[1:], strict=True)]
        for score in scores:
            if isinstance(score, bool) or not math.isfinite(score) or score > LARGEST_LOGPROB:
                raise ValueError(f"{excerpt(repr(score))} is no log-probability")
        return [float(score) for score in scores]


LARGEST_LOGPROB = 1e-3
"""Largest log-probability that is accepted, in nats: above 0 by rounding only."""


def status_error(status: int, body: str, retry_after: str | None, api_key_env: str | None) -> EngineError:
    """Return the error for an HTTP status.

    Returns:
        ServerBusy, ServerFailed or NotServed: a retry may succeed.
        PromptTooLong: the server says that the prompt exceeds the model's context.
        EngineError: any other error, after which a retry cannot succeed.
    """
    said = error_message(body)
    if status == 429 or (status == 503 and retry_after is not None):
        return ServerBusy(f"it is overloaded (HTTP {status}): {said}", _seconds(retry_after))
    if status >= 500 or status == 408:
        return ServerFailed(f"it failed (HTTP {status}): {said}")
    if status in (401, 403):
        fix = (
            f"the key in the environment variable {api_key_env} was not accepted"
            if api_key_env
            else "it wants an API key: put the key into an environment variable and name it in engine.api_key_env"
        )
        return EngineError(f"it refuses access (HTTP {status}): {fix}")
    if status == 404:
        return NotServed(f"it does not serve what was asked for (HTTP 404): {said}")
    if 300 <= status < 400:
        return EngineError(f"it redirects (HTTP {status}); give the address that it redirects to")
    if re.search(r"context length|max_model_len|maximum (?:input|model) length|too long", said, re.IGNORECASE):
        return PromptTooLong(f"the prompt does not fit the server's context (HTTP {status}): {said}")
    return EngineError(f"it refuses the request (HTTP {status}): {said}")


def error_message(body: str) -> str:
    """Return a server's error message, from the usual JSON forms or plain text, cut to one line."""
    try:
        reply = json.loads(body)
        for key in ("error", "message", "detail"):
            if isinstance(reply, dict) and reply.get(key):
                reply = reply[key]
                if isinstance(reply, dict) and reply.get("message"):
                    reply = reply["message"]
                break
        return excerpt(reply if isinstance(reply, str) else json.dumps(reply))
    except (ValueError, RecursionError):
        return excerpt(body) or "no reason given"


def excerpt(text: str, length: int = 300) -> str:
    """Return the beginning of a text as one line, without control characters."""
    line = shown(" ".join(text[: 4 * length].split()), 4 * length)
    return line if len(line) <= length else line[:length] + "..."


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds in a Retry-After header (a number or a date); None: the backoff decides."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
