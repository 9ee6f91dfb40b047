"""Servers that answer nonsense: it is never believed, the requests are asked elsewhere, and alone they end the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_contract import answers
from misbehaving_servers import KINDS, good_reply
from scripted_server import ScriptedServer, scripted_servers

from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.engines.server.engine import ServerEngine
from longmab_pl.engines.server.openai_api import parse_completion
from longmab_pl.errors import EngineError

ASKED = [Request(f"r{i}", (7, i), Sampling(max_tokens=20), n=2, seed=i) for i in range(6)]


@pytest.fixture(scope="module")
def pair(tiny_model: str) -> Iterator[list[ScriptedServer]]:
    with scripted_servers(2, tiny_model) as servers:
        yield servers


@pytest.mark.parametrize("kind", KINDS)
def test_nonsense_is_never_believed_and_costs_no_answer(pair: list[ScriptedServer], tiny_model: str, kind: str) -> None:
    bad, good = pair
    bad.trouble = KINDS[kind]
    addresses = [server.url for server in pair]
    timeout = 1.0 if kind == "a drip without an end" else 60.0  # nothing else ends that one
    with ServerEngine(servers=addresses, concurrency_per_server=4, request_timeout_s=timeout) as engine:
        engine.start(tiny_model)
        done = answers(engine, ASKED)
        assert engine.started
    assert bad.asked, "the test proves nothing unless the bad one was asked"
    for request in ASKED:
        completion = done[request.id]
        assert all(text.startswith("base|") for text in completion.texts), "a spoiled answer was believed"
        assert completion.completion_tokens == (2, 3)
    bad.asked.clear()
    good.asked.clear()


@pytest.mark.parametrize("kind", ["text is null", "half a character at the end", "nested JSON", "a web page"])
def test_alone_it_ends_the_run_with_the_reason(pair: list[ScriptedServer], tiny_model: str, kind: str) -> None:
    pair[0].trouble = KINDS[kind]
    with ServerEngine(servers=[pair[0].url], max_attempts=2) as engine:
        engine.start(tiny_model)
        with pytest.raises(EngineError, match=r"failed 2 times \(engine.max_attempts\)"):
            answers(engine, ASKED[:1])


def test_the_answer_that_the_kinds_spoil_is_right() -> None:
    completion = parse_completion(ASKED[0], good_reply({"n": 2}))
    assert completion.texts == ("believed 0", "believed 1")
    assert completion.completion_tokens == (2, 2)


def test_nonsense_about_models_and_sleep_is_an_error_and_no_traceback(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_servers(1, tiny_model) as (server,):
        server.can_sleep = True
        for field, value in (("model", 3), ("max_model_len", "many"), ("asleep", "no")):
            with monkeypatch.context() as patch:
                patch.setattr(server, field, value)
                with (
                    ServerEngine(servers=[server.url], sleep=True, patience_s=0.3) as engine,
                    pytest.raises(EngineError, match="no server could be used"),
                ):
                    engine.start(tiny_model)
