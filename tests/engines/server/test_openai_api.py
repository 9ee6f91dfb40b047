"""What goes over the wire, and what answers mean."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.engines.server.client import Backoff, Credentials, RemoteServer, server_address
from longmab_pl.engines.server.identity import find_model, same_model, vocabulary_size
from longmab_pl.engines.server.openai_api import (
    NotServed,
    ServedModel,
    ServerBusy,
    ServerFailed,
    completion_body,
    error_message,
    parse_completion,
    parse_models,
    parse_score,
    status_error,
)
from longmab_pl.errors import ConfigError, EngineError, PromptTooLong

REQUEST = Request("r", (1, 2, 3), Sampling(temperature=0.0, top_p=0.9, max_tokens=7), n=2, seed=5)


def reply(**changes: Any) -> dict[str, Any]:
    choices = [
        {"index": 1, "text": "second", "finish_reason": "length", "token_ids": [1, 2, 3]},
        {"index": 0, "text": "one", "finish_reason": "stop", "token_ids": [1]},
    ]
    return {"choices": choices, "usage": {"completion_tokens": 4}} | changes


def test_foreign_servers_get_openais_own_fields_only() -> None:
    body = completion_body(REQUEST, model="m", vllm=False)
    assert body == {
        "model": "m",
        "prompt": [1, 2, 3],
        "n": 2,
        "seed": 5,
        "temperature": 0.0,
        "top_p": 1.0,  # greedy
        "presence_penalty": 1.0,
        "max_tokens": 7,
    }
    more = completion_body(REQUEST, model="m", vllm=True)
    assert more["return_token_ids"] is True
    assert more["top_k"] == 0


def test_a_schema_is_sent_as_each_kind_of_server_takes_it() -> None:
    request = replace(REQUEST, schema='{"type": "object"}')
    assert completion_body(request, model="m", vllm=True)["structured_outputs"]["json"] == {"type": "object"}
    body = completion_body(request, model="m", vllm=False)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "structured_outputs" not in body


def test_responses_come_in_order_with_their_lengths() -> None:
    completion = parse_completion(REQUEST, reply())
    assert completion.texts == ("one", "second")
    assert completion.finish_reasons == ("stop", "length")
    assert completion.completion_tokens == (1, 3)
    assert completion.prompt_tokens == 3
    assert completion.cached_tokens == 0
    assert completion.token_ids == ((1,), (1, 2, 3))


def test_without_token_ids_the_total_is_shared_out() -> None:
    plain = reply(usage={"completion_tokens": 10, "prompt_tokens_details": None})
    for choice in plain["choices"]:
        del choice["token_ids"]
    assert parse_completion(REQUEST, plain).completion_tokens == (3, 7)  # 3 and 6 characters of 9
    assert parse_completion(REQUEST, plain).token_ids == ()
    for choice in plain["choices"]:
        choice["text"] = ""
    assert sum(parse_completion(REQUEST, plain).completion_tokens) == 10


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([], "unexpected form"),
        ({}, "unexpected form"),
        (None, "unexpected form"),
        (reply(choices=reply()["choices"][:1]), "1 responses where 2"),
        (reply(choices=[{"index": 0, "text": "x", "finish_reason": "stop"}], usage=None), "unexpected form"),
        (reply(choices=[dict(choice, finish_reason="abort") for choice in reply()["choices"]]), "'abort'"),
    ],
)
def test_nonsense_is_the_servers_failure(bad: Any, says: str) -> None:
    with pytest.raises(ServerFailed, match=says):
        parse_completion(REQUEST, bad)


def test_scores() -> None:
    rows = [None, {"2": {"logprob": -0.5}, "9": {"logprob": -3}}, {"3": {"logprob": -1.5}}]
    assert parse_score([1, 2, 3], {"choices": [{"prompt_logprobs": rows}]}) == [-0.5, -1.5]
    with pytest.raises(EngineError, match="verify_sync: false"):
        parse_score([1, 2, 3], {"choices": [{"text": "x"}]})
    for wrong in ([1, 2, 4], [1, 2]):
        with pytest.raises(ServerFailed, match="do not fit"):
            parse_score(wrong, {"choices": [{"prompt_logprobs": rows}]})


@pytest.mark.parametrize(
    ("status", "body", "retry_after", "kind", "says"),
    [
        (429, '{"error": {"message": "slow down"}}', "2", ServerBusy, "slow down"),
        (503, "", "1", ServerBusy, "overloaded"),
        (503, "", None, ServerFailed, "HTTP 503"),
        (500, '{"detail": "boom"}', None, ServerFailed, "boom"),
        (404, '{"error": "Not Found"}', None, NotServed, "Not Found"),
        (400, '{"message": "maximum context length is 5"}', None, PromptTooLong, "context length is 5"),
        (400, "<html>odd</html>", None, EngineError, "odd"),
        (401, '{"error": "key sk-1 is wrong"}', None, EngineError, "environment variable OUR_KEY was not accepted"),
    ],
)
def test_statuses(status: int, body: str, retry_after: str | None, kind: type[EngineError], says: str) -> None:
    error = status_error(status, body, retry_after, "OUR_KEY")
    assert type(error) is kind
    assert says in str(error)


def test_retry_after() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60))
    for text, seconds in (
        ("2.5", 2.5),
        ("-3", 0.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        (in_a_minute, pytest.approx(60, abs=3)),
        ("soon", None),
        ("nan", None),
        ("inf", None),
    ):
        error = status_error(429, "", text, None)
        assert isinstance(error, ServerBusy)
        assert error.retry_after == seconds


def test_error_messages_fit_on_a_line() -> None:
    assert error_message("") == "no reason given"
    assert error_message('{"error": {"message": "a\\n b"}}') == "a b"
    assert error_message('["x"]') == '["x"]'
    assert len(error_message("word " * 1000)) < 310


def test_models_and_which_is_the_policys(tmp_path: Path) -> None:
    models = parse_models(
        {
            "data": [
                {"id": "adapter", "root": "/a", "parent": "served"},
                {"id": "served", "root": str(tmp_path), "max_model_len": 9, "owned_by": "vllm", "parent": None},
            ]
        }
    )
    assert models[1] == ServedModel("served", str(tmp_path), None, 9, True)
    assert not models[0].vllm
    link = tmp_path.parent / "link"
    os.symlink(tmp_path, link)
    assert find_model(models, str(link), None) is models[1]
    assert find_model(models, "org/any", "served") is models[1]
    with pytest.raises(EngineError, match=r"serves served \(.*\), but the policy is 'org/any'; start it with"):
        find_model(models, "org/any", None)
    with pytest.raises(EngineError, match=r"engine\.served_model is 'adapter'"):
        find_model(models, "org/any", "adapter")
    for bad in ({}, {"data": [{}]}, [], "x"):
        with pytest.raises(ServerFailed, match="unexpected form"):
            parse_models(bad)


def test_a_hub_name_and_its_cached_folder_are_the_same_model() -> None:
    cached = "/cache/hub/models--org--name/snapshots/0123"
    assert same_model("org/name", cached)
    assert same_model(cached, "org/name")
    assert not same_model("org/nam", cached)
    assert not same_model("org/name", "org/name-instruct")


def test_vocabulary(tiny_model: str, tmp_path: Path) -> None:
    assert vocabulary_size(tiny_model) == 300
    with pytest.raises(EngineError, match="cannot be read"):
        vocabulary_size(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://host:8000/v1/", "http://host:8000"),
        ("https://host/vllm/v1", "https://host/vllm"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_addresses(written: str, meant: str) -> None:
    assert server_address(written) == meant


@pytest.mark.parametrize("written", ["", "http://", "ws://a", "http://a:99999", "http://a?key=1"])
def test_wrong_addresses(written: str) -> None:
    with pytest.raises(ConfigError, match="an address looks like"):
        server_address(written)


def test_backoff_doubles_up_to_a_limit_with_jitter() -> None:
    backoff = Backoff(first=1.0, longest=8.0)
    for failures, ceiling in ((1, 1.0), (2, 2.0), (3, 4.0), (9, 8.0), (10**6, 8.0)):
        pauses = [backoff.seconds(failures) for _ in range(50)]
        assert ceiling / 2 <= min(pauses) < max(pauses) <= ceiling


def test_what_fails_together_counts_once() -> None:
    server = RemoteServer("http://a", 4, Credentials("", None), client=None)  # type: ignore[arg-type]
    for started, now in ((1.0, 5.0), (2.0, 5.1), (4.9, 5.2)):
        server.failed(ServerFailed("gone"), started, now, Backoff())
    assert server.failures == 1
    server.failed(ServerFailed("gone again"), 6.0, 7.0, Backoff())
    assert server.failures == 2
    assert server.trouble == "gone again"


def test_credentials_are_not_shown() -> None:
    credentials = Credentials("sk-1", "OUR_KEY")
    assert "sk-1" not in repr(credentials)
    assert credentials.redact("Bearer sk-1!") == "Bearer ***!"
    assert Credentials("", None).authorization() == ""
    assert Credentials("", None).redact("abc") == "abc"
