"""What a broken server, or something that is none, answers to a completion: each kind must be asked again elsewhere."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from scripted_server import Trouble


def good_reply(body: dict[str, Any]) -> dict[str, Any]:
    """A right answer of two tokens a response, for the kinds to spoil."""
    n = body["n"]
    choices = [{"index": i, "text": f"believed {i}", "finish_reason": "stop", "token_ids": [5, 6]} for i in range(n)]
    return {"choices": choices, "usage": {"completion_tokens": 2 * n, "prompt_tokens_details": {"cached_tokens": 0}}}


def _spoiled(spoil: Callable[[dict[str, Any]], object]) -> Trouble:
    async def answer(body: dict[str, Any], request: web.Request) -> web.Response:
        reply = good_reply(body)
        spoil(reply)
        return web.Response(text=json.dumps(reply), content_type="application/json")

    return answer


def _said(text: str, status: int = 200, **headers: str) -> Trouble:
    async def answer(body: dict[str, Any], request: web.Request) -> web.Response:
        return web.Response(body=text.encode("utf-8", "surrogatepass"), status=status, headers=headers)

    return answer


def _first(**changes: Any) -> Trouble:
    """The first response has other fields."""
    return _spoiled(lambda reply: reply["choices"][0].update(changes))


def _without(field: str) -> Trouble:
    return _spoiled(lambda reply: reply["choices"][0].pop(field))


def _usage(**changes: Any) -> Trouble:
    """No token ids, so that the usage counts, and another usage."""

    def spoil(reply: dict[str, Any]) -> None:
        for choice in reply["choices"]:
            del choice["token_ids"]
        reply["usage"].update(changes)

    return _spoiled(spoil)


def _repeat(reply: dict[str, Any]) -> None:
    reply["choices"].append(copy.deepcopy(reply["choices"][0]))


async def _breaks_off(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.abort()
    return response


async def _drips(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    """A byte now and then: no pause is long, and it never ends."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


DEEP = "[" * 200_000 + "]" * 200_000

KINDS: dict[str, Trouble] = {
    "text is null": _first(text=None),
    "text is a number": _first(text=3),
    "text is an object": _first(text={"a": 1}),
    "text is a list": _first(text=["a"]),
    "no text": _without("text"),
    "half a character at the end": _first(text="so \ud83d"),
    "half a character at the start": _first(text="\ude00 so"),
    "equal indices": _spoiled(lambda reply: reply["choices"][1].update(index=0)),
    "indices from 1": _spoiled(lambda reply: [choice.update(index=choice["index"] + 1) for choice in reply["choices"]]),
    "negative index": _first(index=-1),
    "index is a text": _first(index="0"),
    "index is true": _spoiled(lambda reply: reply["choices"][1].update(index=True)),
    "index is a fraction": _first(index=0.0),
    "no index": _without("index"),
    "a response too few": _spoiled(lambda reply: reply["choices"].pop()),
    "a response too many": _spoiled(_repeat),
    "choices is an object": _spoiled(lambda reply: reply.update(choices={"0": reply["choices"][0]})),
    "choices is null": _spoiled(lambda reply: reply.update(choices=None)),
    "a choice is null": _spoiled(lambda reply: reply["choices"].__setitem__(0, None)),
    "finish reason is null": _first(finish_reason=None),
    "finish reason is an error": _first(finish_reason="error"),
    "token ids are texts": _first(token_ids=["a"]),
    "negative token ids": _first(token_ids=[5, -6]),
    "token ids are a number": _first(token_ids=2),
    "negative number of tokens": _usage(completion_tokens=-4),
    "number of tokens is a text": _usage(completion_tokens="4"),
    "no number of tokens": _usage(completion_tokens=None),
    "negative number of cached tokens": _spoiled(
        lambda reply: reply["usage"].update(prompt_tokens_details={"cached_tokens": -1})
    ),
    "usage is a list": _spoiled(lambda reply: reply.update(usage=[1])),
    "the answer is null": _said("null"),
    "the answer is a list": _said("[]"),
    "the answer is a text": _said('"well"'),
    "nothing": _said(""),
    "a web page": _said("<html>login</html>", **{"Content-Type": "text/html"}),
    "half an answer": _said('{"choices": [{"index": 0, "text": "a'),
    "nested JSON": _said(DEEP),
    "nested JSON as an error": _said('{"error": ' + DEEP + "}", status=500),
    "a number of 10,000 digits": _said('{"choices": ' + "1" * 10_000 + "}"),
    "an error without a text": _said("", status=500),
    "a connection that breaks off": _breaks_off,
    "a drip without an end": _drips,
}
"""Name -> what it answers to a request of two responses or more."""
