"""The vLLM engine with the bundled model. One engine for the module: a start takes about half a minute."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_contract import EngineContract, answers

from longmab_pl.engines.protocol import Completion, Request, Sampling
from longmab_pl.engines.vllm.engine import VLLMEngine
from longmab_pl.engines.weight_sync_check import WeightSyncCheck
from longmab_pl.errors import ConfigError, EngineError

GREEDY = Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=10)
QUESTIONS = ("What is the capital of France?", "Name three colors.", "Who wrote Hamlet?")


# ---------------------------------------------------------------------- without an engine


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"concurrency": 0}, "engine.concurrency"),
        ({"max_model_len": 1}, "engine.max_model_len"),
        ({"kv_cache_gb": 0.0}, "engine.kv_cache_gb"),
        ({"gpu_memory_utilization": 1.5}, "engine.gpu_memory_utilization"),
        ({"max_lora_rank": 12}, "engine.max_lora_rank"),
        ({"adapter_sync": "both"}, "engine.adapter_sync"),
        ({"adapter_sync": "merge", "quantization": "bitsandbytes"}, "quantized"),
        ({"seed": -1}, "engine.seed"),
    ],
)
def test_wrong_settings_are_refused(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        VLLMEngine(**setting)


def test_what_is_known_before_the_start(tmp_path: Path) -> None:
    engine = VLLMEngine(concurrency=3, max_model_len=77)
    assert engine.concurrency == 3
    assert engine.max_model_len == 77
    with pytest.raises(EngineError, match="does not exist"):
        engine.start(str(tmp_path / "nothing"))
    assert not engine.started


# ---------------------------------------------------------------------- with one


@pytest.fixture(scope="module")
def model_path() -> str:
    from longmab_pl.models.hub import resolve_model

    return resolve_model("bundled:smollm2-135m-instruct")


@pytest.fixture(scope="module")
def adapters(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two strong random LoRA adapters, and a weak one: |B| as after some 20 Adam steps at a rate of 5e-5."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters")
    base = AutoModelForCausalLM.from_pretrained(model_path)
    policy = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    for seed, (name, scale) in enumerate({"strong": 0.05, "other": 0.05, "weak": 1e-3}.items()):
        generator = torch.Generator().manual_seed(seed)
        for key, weight in policy.named_parameters():
            if "lora_B" in key:
                weight.data = torch.randn(weight.shape, generator=generator) * scale
        policy.save_pretrained(folder / name)
    return {name: folder / name for name in ("strong", "other", "weak")}


@pytest.fixture(scope="module")
def started(model_path: str) -> Iterator[VLLMEngine]:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    threads = torch.set_num_threads
    with VLLMEngine(concurrency=16, max_model_len=1024, kv_cache_gb=1.0) as engine:
        engine.start(model_path)
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tolist() == before[1]
        assert torch.equal(torch.get_rng_state(), before[2])
        yield engine
    assert torch.set_num_threads is threads


@pytest.fixture
def engine(started: VLLMEngine) -> Iterator[VLLMEngine]:
    """The shared engine, handed back idle and with the base model."""
    yield started
    started.abort()
    started.sync(None)


@pytest.fixture(scope="module")
def tokenizer(model_path: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_path)


def chat(tokenizer: Any, question: str) -> tuple[int, ...]:
    messages = [{"role": "user", "content": question}]
    return tuple(tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])


def questions(tokenizer: Any) -> list[Request]:
    return [Request(f"q{i}", chat(tokenizer, question), GREEDY) for i, question in enumerate(QUESTIONS)]


def logps(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
    """What `Engine.score` gives, by Transformers."""
    rows = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1].float()  # [T - 1, V]
        rows.append(logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].tolist())
    return rows


@pytest.mark.slow
class TestContract(EngineContract):
    @pytest.fixture
    def model(self, model_path: str) -> str:
        return model_path

    @pytest.fixture
    def unstarted(self) -> VLLMEngine:
        return VLLMEngine()


@pytest.mark.slow
def test_completions_stream_out_with_their_reasons(engine: VLLMEngine, tokenizer: Any) -> None:
    prompt = chat(tokenizer, QUESTIONS[0])
    short = Request("short", prompt, Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=2))
    whole = Request("whole", prompt, Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=30))
    stopped = Request("stopped", prompt, Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=30, stop=(" is",)))
    for request in (whole, stopped, short):
        engine.submit(request)
    order: list[Completion] = []
    while len(order) < 3:
        order.extend(engine.poll())
    assert [completion.request_id for completion in order] == ["short", "stopped", "whole"]
    done = {completion.request_id: completion for completion in order}
    assert done["whole"].texts == ("The capital of France is Paris.",)
    assert done["whole"].finish_reasons == ("stop",)
    assert done["whole"].token_ids[0][-1] == tokenizer.eos_token_id, "the sampled end token is one of them"
    assert tokenizer.decode(done["whole"].token_ids[0][:-1]) == done["whole"].texts[0]
    assert done["stopped"].texts == ("The capital of France",)
    assert done["stopped"].finish_reasons == ("stop",)
    assert done["short"].finish_reasons == ("length",)
    assert done["short"].completion_tokens == (2,)
    assert {completion.prompt_tokens for completion in order} == {len(prompt)}


@pytest.mark.slow
def test_prefix_cache_is_used_and_emptied_by_a_sync(
    engine: VLLMEngine, tokenizer: Any, adapters: dict[str, Path]
) -> None:
    prompt = chat(tokenizer, "What is this about? " + "The river runs to the sea. " * 25)
    assert len(prompt) > 128
    one = Sampling(temperature=0.0, max_tokens=1)
    cached = [answers(engine, [Request("r", prompt, one)])["r"].cached_tokens for _ in range(2)]
    assert cached[1] == (len(prompt) - 1) // 32 * 32  # whole blocks; the last token is always computed
    engine.sync(adapters["strong"])
    assert answers(engine, [Request("r", prompt, one)])["r"].cached_tokens == 0


@pytest.mark.slow
def test_seeds_hold_with_many_requests_in_flight(engine: VLLMEngine, tokenizer: Any) -> None:
    """40 requests of 6 responses: on CPU this needs whole prefills (see the engine's docstring)."""
    filler = "The river runs to the sea. " * 17
    sampling = Sampling(temperature=1.0, max_tokens=3)
    requests = [
        Request(f"r{i}", chat(tokenizer, f"{filler} Question {i}: why?"), sampling, n=6, seed=i) for i in range(40)
    ]
    before = torch.get_rng_state()
    done = answers(engine, requests)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(len(done[request.id].texts) == 6 for request in requests)
    assert len({text for completion in done.values() for text in completion.texts}) > 24


@pytest.mark.slow
def test_same_seeds_give_the_same_texts_in_another_order(engine: VLLMEngine, tokenizer: Any) -> None:
    """Nearly the same: the batch's composition changes bf16 sums, and with them now and then a token."""
    sampling = Sampling(temperature=0.7, max_tokens=6)
    requests = [
        Request(f"r{i}", chat(tokenizer, QUESTIONS[i % 3]), sampling, n=3, seed=seed)
        for i, seed in enumerate((0, 0, 0, 1, 1, 1, 2, 2))
    ]
    forward = answers(engine, requests)
    backward = answers(engine, requests[::-1])
    pairs = [pair for name in forward for pair in zip(forward[name].texts, backward[name].texts, strict=True)]
    same = sum(first == second for first, second in pairs)
    print(f"{same} of {len(pairs)} texts are the same in another order")
    assert same >= 0.75 * len(pairs)
    assert len({first for first, _ in pairs}) > 8  # equality proves something only if the texts differ

    # Neighboring seeds of the same prompt do not share responses: r1 (seed 0) and r4 (seed 1).
    assert forward["r1"].texts[1:] != forward["r4"].texts[:2]


@pytest.mark.slow
def test_sync_equals_the_merged_model_and_canary_tells_stale_from_fresh(
    engine: VLLMEngine, tokenizer: Any, adapters: dict[str, Path], model_path: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    requests = questions(tokenizer)
    text = " The capital of France is Paris. It lies on the Seine, and two million people live there."
    prompts = [chat(tokenizer, question) + tuple(tokenizer(text)["input_ids"]) for question in QUESTIONS]
    base_texts = {name: completion.texts for name, completion in answers(engine, requests).items()}

    policy = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.bfloat16), adapters["weak"], adapter_name="weak"
    )
    policy.load_adapter(adapters["strong"], adapter_name="strong")
    policy.load_adapter(adapters["other"], adapter_name="other")
    policy.eval()
    check = WeightSyncCheck(prompts, starts=[len(chat(tokenizer, question)) for question in QUESTIONS])
    engine_base = engine.score(prompts)
    with policy.disable_adapter():
        check.record_base(engine_base, logps(policy, prompts))
    assert check.noise < 0.3

    previous = engine_base
    for name in ("weak", "strong", "other"):
        policy.set_adapter(name)
        expected = logps(policy, prompts)
        if name != "weak":  # whose effect is below bf16's noise: the old weights must be caught before the sync
            with pytest.raises(EngineError, match="still answers with"):
                check.compare(previous, expected)
        engine.sync(adapters[name])
        got = engine.score(prompts)
        result = check.compare(got, expected)
        effect = np.concatenate([np.subtract(a, b) for a, b in zip(got, engine_base, strict=True)])
        print(f"{name}: noise {check.noise:.3f}, rms effect {np.sqrt(np.mean(effect**2)):.3f}, {result}")
        if name != "weak":
            assert result.verdict == "match"
            assert result.cosine > 0.9
        else:
            assert result.verdict == "indistinguishable"
        previous = got

        # Greedy answers: each token is the merged model's best, or tied with it within bf16's noise.
        for request, completion in zip(requests, answers(engine, requests).values(), strict=True):
            new = tokenizer(completion.texts[0])["input_ids"]
            ids = torch.tensor([[*request.prompt_ids, *new]])
            with torch.no_grad():
                logits = policy(ids).logits[0, len(request.prompt_ids) - 1 : -1].float()  # [new, V]
            behind = logits.max(-1).values - logits.gather(-1, torch.tensor(new)[:, None])[:, 0]
            assert behind.max() < 0.75

    engine.sync(None)
    assert {name: completion.texts for name, completion in answers(engine, requests).items()} == base_texts
    np.testing.assert_allclose(np.concatenate(engine.score(prompts)), np.concatenate(engine_base), atol=1e-3)


@pytest.mark.slow
def test_adapter_folders_are_checked(engine: VLLMEngine, adapters: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "reused"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes((adapters["strong"] / name).read_bytes())
    engine.sync(folder)
    engine.sync(folder)  # the same content again is fine
    (folder / "adapter_model.safetensors").write_bytes((adapters["other"] / "adapter_model.safetensors").read_bytes())
    with pytest.raises(EngineError, match="other content"):
        engine.sync(folder)


LIFE = """
import os, signal, sys, threading
from pathlib import Path
import torch
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.engines.vllm.engine import VLLMEngine
from longmab_pl.errors import EngineError

if __name__ == "__main__":
    model, strong, other = sys.argv[1:]
    prompt = tuple(range(100, 140))

    try:
        VLLMEngine(max_model_len=8192, kv_cache_gb=0.05).start(model)
    except EngineError as error:
        assert "lower engine.max_model_len or raise engine.kv_cache_gb" in str(error), error
        print("refused")

    engine = VLLMEngine(max_model_len=512, kv_cache_gb=0.5)
    engine.start(model)
    for i in range(16):
        engine.submit(Request(f"r{i}", prompt, Sampling(max_tokens=450)))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            engine.poll()
    except KeyboardInterrupt:
        print("interrupted")
    engine.close()

    # Again in this process, now with vLLM's LoRA kernels, the GPU's way.
    engine = VLLMEngine(max_model_len=64, kv_cache_gb=0.5, adapter_sync="lora", max_lora_rank=8)
    engine.start(model)
    scores = []
    for adapter in (None, strong, other, strong, None):
        engine.sync(adapter and Path(adapter))
        pair = engine.score([prompt, prompt[:20]])
        assert torch.allclose(torch.tensor(pair[0][:19]), torch.tensor(pair[1]), atol=1e-3)
        scores.append(torch.tensor(pair[0]))
    base, first, second, again, last = scores
    assert torch.allclose(first, again, atol=1e-3) and torch.allclose(base, last, atol=0.3)
    assert (first - base).abs().max() > 1 and (second - first).abs().max() > 1
    print("synced")
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    print("children", children.read_text().strip() if children.exists() else "")
    raise RuntimeError("a training step fails here")  # the engine is not closed: the exit has to do it
"""


@pytest.mark.slow
def test_refused_start_interrupt_second_start_and_exception_leave_nothing_behind(
    model_path: str, adapters: dict[str, Path], tmp_path: Path
) -> None:
    script = tmp_path / "life.py"
    script.write_text(LIFE)
    command = [sys.executable, str(script), model_path, str(adapters["strong"]), str(adapters["other"])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.stdout.split("\n") == ["refused", "interrupted", "synced", "children ", ""], ended.stderr
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("RuntimeError: a training step fails here")
    assert ended.stderr.count("Traceback") == 1
