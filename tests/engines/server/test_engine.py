"""The server engine against real HTTP servers on loopback whose answers and troubles are scripted."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import scripted_server
from engine_contract import EngineContract, answers
from scripted_server import ScriptedServer, scripted_servers

from longmab_pl.engines.protocol import Completion, Request, Sampling
from longmab_pl.engines.request_checks import spread
from longmab_pl.engines.server import dispatcher
from longmab_pl.engines.server.engine import ServerEngine
from longmab_pl.engines.server.spawn import LaunchServers
from longmab_pl.errors import ConfigError, EngineError, PromptTooLong
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler

SAMPLING = Sampling(temperature=0.7, max_tokens=20, stop=("\n",))


def engine_over(servers: list[ScriptedServer], **settings: Any) -> ServerEngine:
    settings = {"concurrency_per_server": 4, "patience_s": 60.0} | settings
    return ServerEngine(servers=[server.url for server in servers], **settings)


@pytest.fixture
def server(tiny_model: str) -> Iterator[ScriptedServer]:
    with scripted_servers(1, tiny_model) as servers:
        yield servers[0]


@pytest.fixture
def pair(tiny_model: str) -> Iterator[list[ScriptedServer]]:
    with scripted_servers(2, tiny_model) as servers:
        yield servers


def requests(count: int, n: int = 1) -> list[Request]:
    return [Request(f"r{i}", (7, i % 200, i // 200), SAMPLING, n=n, seed=i) for i in range(count)]


def adapter_folder(folder: Path) -> Path:
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_text(folder.name)
    return folder


def everything_said(error: BaseException) -> str:
    """The error with its causes, as reprs too: what a traceback or a crash report could show."""
    said, link = "", error
    while link is not None:
        said += f"{link} {link!r} {vars(link)} "
        link = link.__cause__ or link.__context__
    return said


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({}, "either engine.servers"),
        ({"servers": ["http://a:1"], "launch": LaunchServers()}, "either engine.servers"),
        ({"servers": ["ftp://a:1"]}, "an address looks like"),
        ({"servers": ["http://a:port"]}, "an address looks like"),
        ({"servers": ["http://a:1", "http://a:1/v1/"]}, "twice"),
        ({"servers": ["http://a:1"], "concurrency_per_server": 0}, "concurrency_per_server"),
        ({"servers": ["http://a:1"], "max_model_len": 1}, "max_model_len"),
        ({"servers": ["http://a:1"], "patience_s": 0.0}, "patience_s"),
        ({"servers": ["http://a:1"], "max_attempts": 0}, "max_attempts"),
        ({"servers": ["http://a:1"], "seed": -1}, "seed"),
    ],
)
def test_wrong_settings_are_refused(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ServerEngine(**setting)


def test_a_key_in_the_place_of_its_name_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigError, match="must be the name of an environment variable") as caught:
        ServerEngine(servers=["http://a:1"], api_key_env="sk-hunter2")
    assert "hunter2" not in everything_said(caught.value)


def test_an_address_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        ServerEngine(servers=["http://me:hunter2@host:8000"])
    assert "hunter2" not in everything_said(caught.value)


def test_what_is_known_before_the_start() -> None:
    engine = ServerEngine(servers=["127.0.0.1:1", "127.0.0.1:2/v1"], concurrency_per_server=3, max_model_len=77)
    assert engine.concurrency == 7, "both, and a quarter from which a server with room takes what fits its cache"
    assert ServerEngine(servers=["127.0.0.1:1"], concurrency_per_server=8).concurrency == 8
    assert engine.max_model_len == 77


# ---------------------------------------------------------------------- the plain way


class TestContract(EngineContract):
    sleeps = True

    @pytest.fixture
    def model(self, tiny_model: str) -> str:
        return tiny_model

    @pytest.fixture
    def unstarted(self) -> ServerEngine:
        return ServerEngine(servers=["127.0.0.1:1"])

    @pytest.fixture
    def engine(self, pair: list[ScriptedServer], model: str) -> Iterator[ServerEngine]:
        for server in pair:
            server.can_sleep = True
        with engine_over(pair, sleep=True) as engine:
            engine.start(model)
            yield engine


def test_aborted_requests_are_not_asked_again(server: ScriptedServer, tiny_model: str) -> None:
    with engine_over([server]) as engine:
        engine.start(tiny_model)
        server.delay = 5.0
        engine.submit(Request("twice", (3,), SAMPLING))
        engine.abort()
        server.delay = 0.0
        assert len(answers(engine, [Request("twice", (3,), SAMPLING)])) == 1
    assert len(server.asked) <= 2


def test_requests_and_answers(server: ScriptedServer, tiny_model: str) -> None:
    threads = threading.active_count()
    server.together = 4
    with engine_over([server]) as engine:
        engine.start(tiny_model)
        assert engine.max_model_len == 1000
        done = answers(engine, requests(9, n=2))
    assert threading.active_count() == threads
    for i in range(9):
        completion = done[f"r{i}"]
        assert completion.texts == tuple(f"base|{[7, i, 0]}|{spread(i)}|{k}" for k in range(2))
        assert completion.finish_reasons == ("stop", "stop")
        assert completion.completion_tokens == (2, 3)
        assert completion.prompt_tokens == 3
        assert completion.cached_tokens == 3
    assert server.most_at_once == 4
    body = server.asked[0]
    assert body["temperature"] == 0.7
    assert body["top_p"] == 0.95
    assert body["presence_penalty"] == 1.0
    assert body["max_tokens"] == 20
    assert body["stop"] == ["\n"]
    assert body["top_k"] == 0


# ---------------------------------------------------------------------- troubles


@pytest.mark.parametrize("trouble", ["429", "500", "503", "408", "bad json", "wrong form", "abort"])
def test_passing_trouble_costs_nothing(server: ScriptedServer, tiny_model: str, trouble: str) -> None:
    with engine_over([server], max_attempts=50) as engine:
        engine.start(tiny_model)
        server.trouble, server.trouble_left = trouble, 5
        done = answers(engine, requests(8))
    assert server.trouble_left == 0
    assert len(done) == 8
    assert set(server.answered.values()) == ({1} if trouble != "abort" else set(server.answered.values()))


def test_too_many_requests_are_not_held_against_a_request(server: ScriptedServer, tiny_model: str) -> None:
    with engine_over([server], max_attempts=1) as engine:
        engine.start(tiny_model)
        server.trouble, server.trouble_left = "429", 6
        assert len(answers(engine, requests(8))) == 8
    assert server.trouble_left == 0


@pytest.mark.parametrize(
    ("trouble", "kind", "says"),
    [
        ("400 This model's maximum context length is 9 tokens", PromptTooLong, "does not fit the server's context"),
        ("400 top_p is odd", EngineError, "refuses the request .*top_p is odd"),
        ("422 no such field", EngineError, "no such field"),
        ("401", EngineError, "api_key_env"),
        ("302", EngineError, "redirects"),
    ],
)
def test_a_refusal_ends_the_run_with_its_reason(
    server: ScriptedServer, tiny_model: str, trouble: str, kind: type[EngineError], says: str
) -> None:
    with engine_over([server]) as engine:
        engine.start(tiny_model)
        answers(engine, requests(1))
        server.trouble = trouble
        with pytest.raises(kind, match=f"'again' at {server.url}.*{says}"):
            answers(engine, [Request("again", (1,), SAMPLING)])
        assert not engine.started
        server.trouble = None
        engine.abort()
        engine.start(tiny_model)  # starts anew
        assert len(answers(engine, requests(3))) == 3


def test_a_request_that_always_fails_ends_the_run(server: ScriptedServer, tiny_model: str) -> None:
    with engine_over([server], max_attempts=2, patience_s=60.0) as engine:
        engine.start(tiny_model)
        server.trouble = "500 CUDA error"
        with pytest.raises(EngineError, match=r"'r0' failed 2 times.*CUDA error"):
            answers(engine, requests(1))


# ---------------------------------------------------------------------- death


def asking(count: int) -> Callable[[str], Generator[list[Request], list[Completion], list[str]]]:
    """A strategy of `count` requests one after the other."""

    def strategy(key: str) -> Generator[list[Request], list[Completion], list[str]]:
        texts: list[str] = []
        for pull in range(count):
            prompt = (int(key), pull, len(texts))
            completions = yield [Request(f"{key}/{pull}", prompt, SAMPLING, n=2, seed=pull)]
            texts += completions[0].texts
        return texts

    return strategy


def test_a_dead_server_costs_no_completion(pair: list[ScriptedServer], tiny_model: str, tmp_path: Path) -> None:
    strategy = asking(6)
    with engine_over(pair, concurrency_per_server=8) as engine:
        engine.start(tiny_model)
        journal = Journal(tmp_path / "journal.jsonl", "test")
        scheduler = Scheduler({"policy": engine}, journal)
        killed = pair[0].kill_after(15)
        results = dict(scheduler.run((str(key), strategy(str(key))) for key in range(30)))
        journal.close()
        assert engine.started
        killed.join()
    assert sum(pair[0].answered.values()) == 15
    for key in range(30):
        expected = [f"base|{[key, pull, 2 * pull]}|{spread(pull)}|{k}" for pull in range(6) for k in range(2)]
        assert results[str(key)] == expected
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 30 * 6


def test_a_server_that_comes_back_gets_work_and_the_adapter_again(
    pair: list[ScriptedServer], tiny_model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = adapter_folder(tmp_path / "a1")
    with engine_over(pair) as engine, caplog.at_level(logging.WARNING):
        engine.start(tiny_model)
        engine.sync(adapter)
        pair[0].kill()
        assert len(answers(engine, requests(8))) == 8
        pair[0].start()
        before = sum(pair[0].answered.values())
        while sum(pair[0].answered.values()) == before:
            done = answers(engine, requests(40))
            assert all(completion.texts[0].startswith(f"{adapter}|") for completion in done.values())
        assert list(pair[0].adapters.values()) == [str(adapter)]
    said = [record.getMessage() for record in caplog.records]
    assert any(f"{pair[0].url} is left out" in line for line in said)
    assert any(f"{pair[0].url} answers again" in line for line in said)


def test_a_server_that_forgot_the_adapter_is_given_it_again(
    server: ScriptedServer, tiny_model: str, tmp_path: Path
) -> None:
    """Restarted so fast that nothing noticed."""
    with engine_over([server]) as engine:
        engine.start(tiny_model)
        engine.sync(adapter_folder(tmp_path / "a1"))
        server.adapters.clear()
        done = answers(engine, requests(8))
    assert all(completion.texts[0].startswith(f"{tmp_path / 'a1'}|") for completion in done.values())


def test_an_adapter_whose_loading_was_not_heard_of_is_loaded(
    server: ScriptedServer, tiny_model: str, tmp_path: Path
) -> None:
    with engine_over([server]) as engine:
        engine.start(tiny_model)
        server.lost_replies = 1
        engine.sync(adapter_folder(tmp_path / "a1"))
        assert server.lost_replies == 0
        done = answers(engine, requests(8))
    assert all(completion.texts[0].startswith(f"{tmp_path / 'a1'}|") for completion in done.values())


def test_a_silent_server_loses_its_requests_to_another(
    pair: list[ScriptedServer], tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that lost its power closes no connection."""
    monkeypatch.setattr(dispatcher, "HEALTH_SECONDS", 0.1)
    with engine_over(pair) as engine:
        engine.start(tiny_model)
        pair[0].trouble, pair[0].healthy = "hang", False
        assert len(answers(engine, requests(12))) == 12
    assert sum(pair[1].answered.values()) == 12


def test_all_dead_is_a_clear_error_and_a_resumable_run(
    pair: list[ScriptedServer], tiny_model: str, tmp_path: Path
) -> None:
    path, strategy = tmp_path / "journal.jsonl", asking(5)

    def tasks() -> Iterator[tuple[str, Any]]:
        return ((str(key), strategy(str(key))) for key in range(20))

    results: dict[str, Any] = {}
    with engine_over(pair, patience_s=0.5) as engine:
        engine.start(tiny_model)
        journal = Journal(path, "test")
        killed = [server.kill_after(10) for server in pair]
        with pytest.raises(EngineError, match=r"engine\.patience_s.*repeat the command") as caught:
            results.update(Scheduler({"policy": engine}, journal).run(tasks()))
        journal.close()
        for server in pair:
            assert f"{server.url}: no connection" in str(caught.value)
        assert not engine.started
        known = len(path.read_text().splitlines()) - 1
        assert 0 < known <= 20
        assert not any(isinstance(result, Exception) for result in results.values())  # no record is to blame

        for thread, server in zip(killed, pair, strict=True):
            thread.join()
            server.answers_left = None
            server.asked.clear()
            server.start()
        engine.start(tiny_model)
        journal = Journal(path, "test")
        results = dict(Scheduler({"policy": engine}, journal).run(tasks()))
        journal.close()
    assert sum(len(server.asked) for server in pair) == 100 - known
    for key in range(20):
        assert results[str(key)] == [
            f"base|{[key, pull, 2 * pull]}|{spread(pull)}|{k}" for pull in range(5) for k in range(2)
        ]


# ---------------------------------------------------------------------- start


def test_start_waits_for_a_server_that_is_still_loading(tiny_model: str) -> None:
    server = ScriptedServer(tiny_model).start()
    server.kill()
    timer = threading.Timer(0.7, server.start)
    timer.start()
    with engine_over([server], patience_s=20.0) as engine:
        engine.start(tiny_model)
        assert len(answers(engine, requests(4))) == 4
    timer.join()
    server.kill()


def test_one_of_two_servers_suffices(pair: list[ScriptedServer], tiny_model: str) -> None:
    pair[1].kill()
    with engine_over(pair) as engine:
        engine.start(tiny_model)
        assert len(answers(engine, requests(20))) == 20


def test_no_server_is_a_clear_error(tiny_model: str) -> None:
    with ServerEngine(servers=["http://127.0.0.1:9"], patience_s=0.3) as engine:
        with pytest.raises(EngineError, match=r"no server could be used.*\n  http://127.0.0.1:9: no connection"):
            engine.start(tiny_model)
        assert not engine.started


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "org/another"}, "serves org/another, but the policy is"),
        ({"max_model_len": None}, "set engine.max_model_len"),
        ({"key": "secret"}, "api_key_env"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_at_start(
    pair: list[ScriptedServer], tiny_model: str, change: dict[str, Any], says: str
) -> None:
    for name, value in change.items():
        setattr(pair[1], name, value)
    with engine_over(pair) as engine, pytest.raises(EngineError, match=f"{pair[1].url}: .*{says}"):
        engine.start(tiny_model)


def test_the_smallest_context_counts(pair: list[ScriptedServer], tiny_model: str) -> None:
    pair[1].max_model_len = 500
    with engine_over(pair) as engine:
        engine.start(tiny_model)
        assert engine.max_model_len == 500
    with engine_over(pair, max_model_len=400) as engine:
        engine.start(tiny_model)
        assert engine.max_model_len == 400


def test_a_served_name_can_be_given(server: ScriptedServer, tiny_model: str) -> None:
    server.model = "our-llm"
    with engine_over([server], served_model="our-llm") as engine:
        engine.start(tiny_model)
        answers(engine, requests(1))
    assert server.asked[0]["model"] == "our-llm"


# ---------------------------------------------------------------------- the key


KEY = "sk-very-secret-4711"


def test_the_key_comes_from_the_named_variable_and_is_never_shown(
    server: ScriptedServer, tiny_model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.key = KEY
    engine = engine_over([server], api_key_env="OUR_KEY", max_attempts=2)
    monkeypatch.delenv("OUR_KEY", raising=False)
    with pytest.raises(ConfigError, match="OUR_KEY, which is not set"):
        engine.start(tiny_model)

    monkeypatch.setenv("OUR_KEY", KEY)
    with caplog.at_level(logging.DEBUG), engine:
        engine.start(tiny_model)
        assert len(answers(engine, requests(3))) == 3
        assert KEY not in repr(vars(engine))
        assert KEY not in repr(engine._fleet.servers)  # type: ignore[union-attr]
        server.trouble = "500"  # and says the key in its message
        with pytest.raises(EngineError, match=r"Bearer \*\*\*") as caught:
            answers(engine, [Request("a", (1,), SAMPLING)])
        assert KEY not in everything_said(caught.value)

        server.trouble, server.key = None, "another"
        with pytest.raises(EngineError, match="environment variable OUR_KEY was not accepted") as caught:
            engine.start(tiny_model)
        assert KEY not in everything_said(caught.value)

        server.kill()
        engine._patience = 0.2
        with pytest.raises(EngineError, match="no connection") as caught:
            engine.start(tiny_model)
        assert KEY not in everything_said(caught.value)
    assert KEY not in caplog.text


def test_nothing_that_was_meant_for_another_server_is_sent(
    server: ScriptedServer, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What OpenAI's own client takes from the environment: keys, names of the account, a proxy."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    with engine_over([server]) as engine:
        engine.start(tiny_model)
        assert len(answers(engine, requests(2))) == 2
    for headers in server.headers:
        assert KEY not in "".join(headers.values())
        assert "Authorization" not in headers


# ---------------------------------------------------------------------- adapters, scores, sleep


def test_each_sync_has_a_new_name_and_unloads_the_old(
    pair: list[ScriptedServer], tiny_model: str, tmp_path: Path
) -> None:
    first, second = adapter_folder(tmp_path / "a1"), adapter_folder(tmp_path / "a2")
    names: list[set[str]] = []
    with engine_over(pair) as engine:
        engine.start(tiny_model)
        for adapter in (first, second, first):
            engine.sync(adapter)
            done = answers(engine, requests(12))
            assert all(completion.texts[0].startswith(f"{adapter}|") for completion in done.values())
            assert pair[0].adapters.keys() == pair[1].adapters.keys()
            names.append(set(pair[0].adapters))
        assert [len(each) for each in names] == [1, 1, 1]
        assert len(set.union(*names)) == 3
        engine.sync(None)
        assert not pair[0].adapters
        done = answers(engine, requests(4))
        assert all(completion.texts[0].startswith("base|") for completion in done.values())
        engine.sync(second)
    assert not pair[0].adapters  # closing leaves nothing behind


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dynamic_lora": False}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
        ({"load_error": (500, "LoRA rank 64 is greater than max_lora_rank 16.")}, "--max-lora-rank"),
        ({"load_error": (404, "No adapter found for /x")}, "shared file system"),
        ({"load_error": (400, "Call to add_lora method failed: LoRA is not enabled")}, "--enable-lora"),
    ],
)
def test_an_adapter_that_cannot_be_loaded_is_an_error(
    pair: list[ScriptedServer], tiny_model: str, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    for name, value in change.items():
        setattr(pair[1], name, value)
    with engine_over(pair) as engine:
        engine.start(tiny_model)
        with pytest.raises(EngineError, match=f"{pair[1].url}: .*{says}"):
            engine.sync(adapter_folder(tmp_path / "a1"))


def test_scores_come_from_every_server_which_must_agree(pair: list[ScriptedServer], tiny_model: str) -> None:
    with engine_over(pair) as engine:
        engine.start(tiny_model)
        prompts = [[1, 2, 3], [4, 5]]
        assert engine.score(prompts) == [[-1.0, -1.0], [-1.0]]
        assert len(pair[0].asked) == len(pair[1].asked) == 2
        pair[1].logprob = -3.0
        with pytest.raises(EngineError, match=r"do not serve the same weights.*2\.00 nats"):
            engine.score(prompts)
        pair[1].kill()
        assert engine.score(prompts) == [[-1.0, -1.0], [-1.0]]


def test_sleep_is_for_servers_that_can(pair: list[ScriptedServer], tiny_model: str) -> None:
    with engine_over(pair) as engine:
        engine.start(tiny_model)
        engine.sleep()
        engine.wake()
        assert pair[0].told == []
    with engine_over(pair, sleep=True) as engine, pytest.raises(EngineError, match="VLLM_SERVER_DEV_MODE"):
        engine.start(tiny_model)
    for server in pair:
        server.can_sleep = server.asleep = True  # left asleep by a run that was killed
    with engine_over(pair, sleep=True) as engine:
        engine.start(tiny_model)
        engine.sleep()
        with pytest.raises(EngineError, match="sleeps"):
            engine.submit(requests(1)[0])
        engine.sleep()
        engine.wake()
        assert len(answers(engine, requests(4))) == 4
    assert pair[0].told == pair[1].told == ["wake", "sleep 1", "wake"]


def test_prompts_are_sent_as_they_are(server: ScriptedServer, tiny_model: str) -> None:
    prompt = tuple(i % 300 for i in range(900))
    with engine_over([server]) as engine:
        engine.start(tiny_model)
        answers(engine, [Request("r", prompt, SAMPLING)])
    assert server.asked[0]["prompt"] == json.loads(json.dumps(prompt))


# ---------------------------------------------------------------------- servers of its own


class LaunchScripted(LaunchServers):
    """Starts scripted servers where `LaunchServers` starts vLLM's."""

    def command(self, model: str, port: int, **_: Any) -> list[str]:
        return [sys.executable, scripted_server.__file__, model, str(port)]


def test_servers_of_its_own_live_as_long_as_the_engine(tiny_model: str) -> None:
    with ServerEngine(launch=LaunchScripted(servers=2), concurrency_per_server=4) as engine:
        assert engine.concurrency == 10
        engine.start(tiny_model)
        assert len(answers(engine, requests(20))) == 20
        assert engine.children is not None
        children = engine.children
    assert all(process.poll() is not None for process in children.processes)
    assert not children.logs.exists()
    assert children.key not in repr(vars(engine))


def test_servers_of_its_own_that_die_end_the_run_at_once_and_leave_their_log(tiny_model: str) -> None:
    with ServerEngine(launch=LaunchScripted(servers=2), patience_s=600.0) as engine:
        engine.start(tiny_model)
        assert engine.children is not None
        children = engine.children
        children.processes[0].terminate()
        children.processes[0].wait(30)
        assert len(answers(engine, requests(20))) == 20
        children.processes[1].terminate()
        children.processes[1].wait(30)
        with pytest.raises(EngineError, match=r"ended with status .*see its log (\S+)") as caught:
            answers(engine, [Request("again", (1,), SAMPLING)])
    assert str(children.log(0)) in str(caught.value)
    assert children.log(0).is_file()
    shutil.rmtree(children.logs)


def test_a_server_of_its_own_that_does_not_start_is_an_error_with_its_log(tiny_model: str, tmp_path: Path) -> None:
    class Broken(LaunchServers):
        def command(self, model: str, port: int, **_: Any) -> list[str]:
            return [sys.executable, "-c", "raise SystemExit('ValueError: no room for the KV cache')"]

    engine = ServerEngine(launch=Broken(log_folder=str(tmp_path / "logs")))
    with pytest.raises(EngineError, match=r"ended with status 1: .*server-0\.log\n.*no room for the KV cache"):
        engine.start(tiny_model)

    class Slow(LaunchServers):
        def command(self, model: str, port: int, **_: Any) -> list[str]:
            return [sys.executable, "-c", "import time; time.sleep(600)"]

    engine = ServerEngine(launch=Slow(log_folder=str(tmp_path / "logs"), startup_timeout_s=0.5))
    with pytest.raises(EngineError, match=r"startup_timeout_s"):
        engine.start(tiny_model)
    assert not engine.started
