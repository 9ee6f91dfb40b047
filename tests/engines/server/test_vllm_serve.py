"""Rollouts on a real `vllm serve` on loopback, started by the engine itself, with the bundled model on CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longmab_pl.data.readers import read_records
from longmab_pl.engines.protocol import Completion, Engine, Request, Sampling
from longmab_pl.engines.server.engine import ServerEngine
from longmab_pl.engines.server.spawn import LaunchServers
from longmab_pl.engines.weight_sync_check import WeightSyncCheck
from longmab_pl.errors import EngineError
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.strategies.base import StrategyContext

pytestmark = pytest.mark.slow

GREEDY = Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=10)
QUESTIONS = ("What is the capital of France?", "Name three colors.", "Who wrote Hamlet?")

RELAY = """
import asyncio, sys

async def relay(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    async def copy(source, sink):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
"""A second way to the same server, which can be killed: two real servers would take too much of a small machine."""


@pytest.fixture(scope="module")
def model() -> str:
    return resolve_model("bundled:smollm2-135m-instruct")


@pytest.fixture(scope="module")
def tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


@pytest.fixture(scope="module")
def launched(model: str) -> Iterator[ServerEngine]:
    """The engine with a server of its own; closing it must leave no process."""
    settings = LaunchServers(max_lora_rank=8)
    with ServerEngine(launch=settings, concurrency_per_server=8, max_model_len=1024) as engine:
        engine.start(model)
        assert engine.children is not None
        (supervisor,) = engine.children.processes
        family = [supervisor.pid, *descendants(supervisor.pid)]
        assert len(family) >= 3  # the supervisor, the API server, vLLM's engine core
        yield engine
        logs = engine.children.logs
    assert not [pid for pid in family if running(pid)]
    assert not logs.exists()


@pytest.fixture
def engine(launched: ServerEngine) -> Iterator[ServerEngine]:
    """The shared engine, handed back idle and with the base model."""
    yield launched
    launched.abort()
    launched.sync(None)


def running(pid: int) -> bool:
    """Whether a process is there, and more than an exit status that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [each for child in children for each in descendants(child)]


def chat(tokenizer: Any, question: str) -> tuple[int, ...]:
    messages = [{"role": "user", "content": question}]
    return tuple(tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])


def answers(engine: Engine, requests: list[Request]) -> dict[str, Completion]:
    for request in requests:
        engine.submit(request)
    done: dict[str, Completion] = {}
    while len(done) < len(requests):
        done.update((completion.request_id, completion) for completion in engine.poll())
    return done


def logps(model: Any, prompts: list[tuple[int, ...]]) -> list[list[float]]:
    """What `Engine.score` gives, by Transformers."""
    rows = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1].float()  # [T - 1, V]
        rows.append(logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].tolist())
    return rows


def test_answers_seeds_and_reasons(engine: ServerEngine, tokenizer: Any) -> None:
    assert engine.max_model_len == 1024
    warm = Sampling(temperature=1.0, max_tokens=6)
    prompt = chat(tokenizer, QUESTIONS[0])
    requests = [
        Request("greedy", prompt, GREEDY),
        Request("stopped", prompt, Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=10, stop=(" is",))),
        Request("short", prompt, Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=2)),
        *(Request(f"seed {seed} {again}", prompt, warm, n=3, seed=seed) for seed in range(3) for again in "ab"),
    ]
    done = answers(engine, requests)
    assert done["greedy"].texts == ("The capital of France is Paris.",)
    assert done["greedy"].finish_reasons == ("stop",)
    assert done["greedy"].prompt_tokens == len(prompt)
    assert done["stopped"].texts == ("The capital of France",)
    assert done["short"].finish_reasons == ("length",)
    assert done["short"].completion_tokens == (2,)
    for seed in range(3):
        first, second = done[f"seed {seed} a"], done[f"seed {seed} b"]
        assert first.texts == second.texts
        assert len(first.completion_tokens) == 3
        assert max(first.completion_tokens) <= 6
    assert len({done[f"seed {seed} a"].texts for seed in range(3)}) == 3


def test_adapters_arrive_and_the_canary_sees_it(
    engine: ServerEngine, tokenizer: Any, model: str, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    policy = get_peft_model(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), lora)
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.05)
    policy.save_pretrained(tmp_path / "adapter")
    policy.eval()

    text = " The capital of France is Paris. It lies on the Seine."
    prompts = [chat(tokenizer, question) + tuple(tokenizer(text)["input_ids"]) for question in QUESTIONS]
    check = WeightSyncCheck(prompts, starts=[len(chat(tokenizer, question)) for question in QUESTIONS])
    with policy.disable_adapter():
        base = logps(policy, prompts)
    found = engine.score(prompts)
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(base), atol=1e-2)
    check.record_base(found, base)
    expected = logps(policy, prompts)
    with pytest.raises(EngineError, match="still answers with the base model"):
        check.compare(engine.score(prompts), expected)

    question = chat(tokenizer, QUESTIONS[0])
    before = answers(engine, [Request("r", question, GREEDY)])["r"].texts
    engine.sync(tmp_path / "adapter")
    result = check.compare(engine.score(prompts), expected)
    assert result.verdict == "match"
    assert result.cosine > 0.99
    assert answers(engine, [Request("r", question, GREEDY)])["r"].texts != before
    engine.sync(None)
    assert answers(engine, [Request("r", question, GREEDY)])["r"].texts == before

    large = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=16, target_modules=["q_proj"]))
    large.save_pretrained(tmp_path / "large")
    with pytest.raises(EngineError, match="--max-lora-rank"):
        engine.sync(tmp_path / "large")


def test_a_rollout_survives_the_death_of_a_server(
    engine: ServerEngine, tokenizer: Any, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.children is not None
    (url,) = engine.children.urls
    relay = subprocess.Popen([sys.executable, "-c", RELAY, url.rpartition(":")[2]], stdout=subprocess.PIPE, text=True)
    assert relay.stdout is not None
    second = f"http://127.0.0.1:{int(relay.stdout.readline())}"
    monkeypatch.setenv("TEST_SERVER_KEY", engine.children.key)
    strategy = BanditRollout(
        pulls=3,
        top_k=2,
        samples_per_pull=2,
        init="query",
        chunking=Chunking(64, 0, 1),
        sampling=Sampling(temperature=0.7, presence_penalty=0.0, max_tokens=12),
    )
    records = read_records("shipped:synthetic_train", limit=6).records
    with ServerEngine(
        servers=[url, second], api_key_env="TEST_SERVER_KEY", concurrency_per_server=4, patience_s=20.0
    ) as both:
        both.start(model)
        context = StrategyContext(tokenizer, DirectAnswer(), Embedder(), both.max_model_len, 0, (AnswerMatch(),))
        journal = Journal(tmp_path / "journal.jsonl", "test")

        def kill_after(progress: Any) -> None:
            if progress.responses >= 6 and relay.poll() is None:
                threading.Thread(target=relay.kill).start()

        scheduler = Scheduler({"policy": both}, journal, on_progress=kill_after)
        results = dict(scheduler.run((record.id, strategy.roll(record, context)) for record in records))
        journal.close()
        assert both.started
    assert relay.wait(10) == -signal.SIGKILL
    for record in records:
        rollout = results[record.id]
        assert not isinstance(rollout, Exception)
        assert rollout.status == "ok"
        assert [len(response.read) for response in rollout.responses] == [2] * 6
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 1 + len(records) * 3


def test_a_wrong_key_names_the_variable(engine: ServerEngine, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.children is not None
    monkeypatch.setenv("TEST_SERVER_KEY", "wrong" + os.urandom(4).hex())
    with (
        ServerEngine(servers=engine.children.urls, api_key_env="TEST_SERVER_KEY") as other,
        pytest.raises(EngineError, match="environment variable TEST_SERVER_KEY was not accepted"),
    ):
        other.start(model)
