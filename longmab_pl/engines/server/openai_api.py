"""What goes over the wire to an OpenAI-compatible server, and what its answers mean: pure functions, no network.

Written against vLLM's server. Fields beyond OpenAI's own (token ids of the answers, sampling defaults that a model's
`generation_config.json` would otherwise change, prompt log-probabilities) are sent to vLLM only.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.errors import EngineError, PromptTooLong


class ServerFailed(EngineError):
    """A server did not answer, or answered nonsense: another server, or this one later, may do better."""


class ServerBusy(ServerFailed):
    """A server asks for a pause (HTTP 429, or 503 with Retry-After), of so many seconds if it says so."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotServed(ServerFailed):
    """The server does not know the model or adapter that was asked for (any more): it was started anew, for example."""


@dataclass(frozen=True)
class ServedModel:
    """One entry of `GET /v1/models`.

    Args:
        name: what requests must call it.
        root: the folder or hub name that it was loaded from, if the server says.
        parent: the base model's name where this is an adapter.
        max_model_len: longest prompt plus response, in tokens, if the server says.
        vllm: whether the server is vLLM.
    """

    name: str
    root: str | None
    parent: str | None
    max_model_len: int | None
    vllm: bool


def parse_models(reply: Any) -> list[ServedModel]:
    """The answer to `GET /v1/models`.

    Raises:
        ServerFailed: it has another form.
    """
    try:
        return [
            ServedModel(
                name=str(entry["id"]),
                root=entry.get("root"),
                parent=entry.get("parent"),
                max_model_len=entry.get("max_model_len"),
                vllm=entry.get("owned_by") == "vllm",
            )
            for entry in reply["data"]
        ]
    except (TypeError, KeyError, AttributeError) as error:
        raise ServerFailed(f"/v1/models has an unexpected form: {excerpt(json.dumps(reply))}") from error


def completion_body(request: Request, *, model: str, vllm: bool) -> dict[str, Any]:
    """The body of `POST /v1/completions` for a request of token ids, with the seed to sample with."""
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
    if vllm:
        # The model's generation_config must not add what was not asked for; the in-process engine does not read it.
        body |= {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "frequency_penalty": 0.0}
        body["return_token_ids"] = request.n > 1  # one response's length is in the usage, without its ids
    return body


def parse_completion(request: Request, reply: Any) -> Completion:
    """The answer to a request. A server that gives no token ids gives only the sum of the responses' lengths, which
    is then shared out by the lengths of the texts.

    Raises:
        ServerFailed: it has another form, or fewer responses than were asked for, or one that ended in an error.
    """
    try:
        choices = sorted(reply["choices"], key=lambda choice: choice["index"])
        texts = tuple(str(choice["text"]) for choice in choices)
        reasons = tuple(str(choice["finish_reason"]) for choice in choices)
        usage = reply.get("usage") or {}
        lengths = _lengths(choices, texts, usage.get("completion_tokens"))
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    except (TypeError, KeyError, AttributeError) as error:
        raise ServerFailed(f"its completion has an unexpected form: {excerpt(json.dumps(reply))}") from error
    if len(texts) != request.n:
        raise ServerFailed(f"it gave {len(texts)} responses where {request.n} were asked for")
    for reason in reasons:
        if reason not in ("stop", "length"):
            raise ServerFailed(f"a response ended with {reason!r} and is not whole")
    return Completion(
        request_id=request.id,
        texts=texts,
        finish_reasons=reasons,
        completion_tokens=lengths,
        prompt_tokens=len(request.prompt_ids),
        cached_tokens=int(cached),
    )


def _lengths(choices: Sequence[Mapping[str, Any]], texts: Sequence[str], total: int | None) -> tuple[int, ...]:
    """Tokens of each response."""
    if all(choice.get("token_ids") is not None for choice in choices):
        return tuple(len(choice["token_ids"]) for choice in choices)
    if total is None:
        raise KeyError("usage.completion_tokens")
    characters = sum(map(len, texts))
    if len(texts) == 1 or not characters:
        return (total,) + (0,) * (len(texts) - 1)
    ends = [0]
    for text in texts:
        ends.append(ends[-1] + len(text))
    marks = [round(total * end / characters) for end in ends]  # so that the parts add up to the total
    return tuple(after - before for before, after in itertools.pairwise(marks))


def score_body(prompt: Sequence[int], model: str) -> dict[str, Any]:
    """The body of `POST /v1/completions` that asks vLLM for the prompt's own log-probabilities."""
    return {"model": model, "prompt": list(prompt), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}


def parse_score(prompt: Sequence[int], reply: Any) -> list[float]:
    """Natural-log probabilities of tokens 1..T-1 of a prompt of T tokens.

    Raises:
        EngineError: the server gives no prompt log-probabilities.
        ServerFailed: they do not belong to this prompt.
    """
    try:
        rows = reply["choices"][0].get("prompt_logprobs")
        if rows is None:
            raise EngineError(
                "it gives no prompt log-probabilities, so the adapter hand-over cannot be verified; serve with vLLM, "
                "or set data.verify_sync: false"
            )
        return [float(row[str(token)]["logprob"]) for row, token in zip(rows[1:], prompt[1:], strict=True)]
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ServerFailed(
            f"its prompt log-probabilities do not fit the prompt: {excerpt(json.dumps(reply))}"
        ) from error


def check_status(status: int, body: str, retry_after: str | None, api_key_env: str | None) -> None:
    """Turn an HTTP status into the error that it means; nothing for 200.

    Raises:
        ServerBusy, ServerFailed, NotServed: worth another try.
        PromptTooLong: the server says that the prompt exceeds the model's context.
        EngineError: anything else that asking again cannot mend.
    """
    if status == 200:
        return
    said = error_message(body)
    if status == 429 or (status == 503 and retry_after is not None):
        raise ServerBusy(f"it is overloaded (HTTP {status}): {said}", _seconds(retry_after))
    if status >= 500 or status == 408:
        raise ServerFailed(f"it failed (HTTP {status}): {said}")
    if status in (401, 403):
        mend = (
            f"the key in the environment variable {api_key_env} was not accepted"
            if api_key_env
            else "it wants an API key: put the key into an environment variable and name it in engine.api_key_env"
        )
        raise EngineError(f"it refuses access (HTTP {status}): {mend}")
    if status == 404:
        raise NotServed(f"it does not serve what was asked for (HTTP 404): {said}")
    if 300 <= status < 400:
        raise EngineError(f"it redirects (HTTP {status}); give the address that it redirects to")
    if re.search(r"context length|max_model_len|maximum (?:input|model) length|too long", said, re.IGNORECASE):
        raise PromptTooLong(f"the prompt does not fit the server's context (HTTP {status}): {said}")
    raise EngineError(f"it refuses the request (HTTP {status}): {said}")


def error_message(body: str) -> str:
    """What a server says of an error, out of the usual JSON forms or plain text, cut to a line."""
    try:
        reply = json.loads(body)
    except ValueError:
        return excerpt(body) or "no reason given"
    for key in ("error", "message", "detail"):
        if isinstance(reply, dict) and reply.get(key):
            reply = reply[key]
            if isinstance(reply, dict) and reply.get("message"):
                reply = reply["message"]
            break
    return excerpt(reply if isinstance(reply, str) else json.dumps(reply))


def excerpt(text: str, length: int = 300) -> str:
    """The beginning of a text in one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length] + "..."


def _seconds(retry_after: str | None) -> float | None:
    """The Retry-After header; its other form, a date, is left to the backoff."""
    try:
        return max(0.0, float(retry_after)) if retry_after is not None else None
    except ValueError:
        return None
