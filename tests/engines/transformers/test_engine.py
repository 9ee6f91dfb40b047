"""The Transformers engine, with a tiny random model and (slow) against vLLM with the bundled one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_contract import EngineContract, answers

from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.engines.transformers.batch import RowEnd, RowSampler, response_text
from longmab_pl.engines.transformers.engine import TransformersEngine
from longmab_pl.errors import ConfigError, EngineError

GREEDY = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=12)


@pytest.fixture
def engine(tiny_model: str) -> Iterator[TransformersEngine]:
    with TransformersEngine(concurrency=4, max_model_len=200) as engine:
        engine.start(tiny_model)
        yield engine


def by_hand(model: Any, prompt: Sequence[int], new: int, penalty: float = 0.0) -> list[int]:
    """Greedy decoding without any of the engine's parts: no padding, no cache."""
    tokens: list[int] = []
    for _ in range(new):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, -1]
        for token in set(tokens):
            logits[token] -= penalty
        tokens.append(int(logits.argmax()))
        if tokens[-1] == 0:
            break
    return tokens


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"max_model_len": 1}, "max_model_len"),
        ({"dtype": "bf17"}, "dtype"),
        ({"quantization": "gptq"}, "quantization"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_settings_are_refused(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"engine.{says}"):
        TransformersEngine(**setting)


class TestContract(EngineContract):
    @pytest.fixture
    def model(self, tiny_model: str) -> str:
        return tiny_model

    @pytest.fixture
    def unstarted(self) -> TransformersEngine:
        return TransformersEngine()


def test_a_start_that_fails_leaves_it_unstarted_and_random_numbers_stay_the_runs_own(
    tiny_model: str, tmp_path: Path
) -> None:
    engine = TransformersEngine(max_model_len=77)
    assert engine.max_model_len == 77
    with pytest.raises(EngineError, match="cannot load"):
        engine.start(str(tmp_path))
    assert not engine.started
    state = torch.get_rng_state()
    engine.start(tiny_model)
    assert torch.equal(torch.get_rng_state(), state)
    engine.close()
    assert not engine.started
    with pytest.raises(EngineError, match="takes 2048 tokens"):
        TransformersEngine(max_model_len=5000).start(tiny_model)


def test_greedy_answers_are_the_models_own(engine: TransformersEngine, tiny_model: str, byte_tokenizer: Any) -> None:
    """Batches of ragged prompts, n > 1 and a penalty give what decoding by hand gives."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    penalized = Sampling(temperature=0.0, presence_penalty=1.5, max_tokens=9)
    prompts = [tuple((7 * i + k * k) % 300 for k in range(3 + 5 * i)) for i in range(7)]
    asked = [Request(f"g{i}", prompt, GREEDY, n=1 + i % 2) for i, prompt in enumerate(prompts)]
    asked += [Request(f"p{i}", prompt, penalized) for i, prompt in enumerate(prompts)]
    state = torch.get_rng_state()
    done = answers(engine, asked)
    assert torch.equal(torch.get_rng_state(), state)
    differ = 0
    for i, prompt in enumerate(prompts):
        for name, penalty, new in (("g", 0.0, 12), ("p", 1.5, 9)):
            tokens, completion = by_hand(model, prompt, new, penalty), done[f"{name}{i}"]
            text = byte_tokenizer.decode(tokens, skip_special_tokens=True)
            assert set(completion.texts) == {text}
            assert set(completion.completion_tokens) == {len(tokens)}
            assert set(completion.token_ids) == {tuple(tokens)}, "an end token included"
            assert set(completion.finish_reasons) == {"stop" if tokens[-1] == 0 else "length"}
            assert completion.prompt_tokens == len(prompt)
        differ += done[f"g{i}"].texts[0][:9] != done[f"p{i}"].texts[0]
    assert len(done["g1"].texts) == 2
    assert differ, "the penalty changed nothing, so the test proves little"


def test_seeds_hold_in_any_batch(engine: TransformersEngine) -> None:
    warm = Sampling(temperature=1.0, top_p=0.9, max_tokens=10)
    asked = [Request(f"r{i}", tuple(range(1, 4 + 3 * i)), warm, n=2, seed=i) for i in range(6)]
    together = answers(engine, asked)
    backwards = answers(engine, asked[::-1])
    alone = {request.id: answers(engine, [request])[request.id] for request in asked}
    assert together == backwards == alone
    assert len({text for completion in together.values() for text in completion.texts}) == 12


def test_long_and_short_prompts_go_apart(engine: TransformersEngine) -> None:
    lengths = [5, 100, 6, 101, 7, 102, 8, 103]
    for i, length in enumerate(lengths):
        engine.submit(Request(f"r{i}", (3,) * length, GREEDY))
    batches = [{len_of.prompt_tokens for len_of in engine.poll()} for _ in range(2)]
    assert batches == [{5, 6, 7, 8}, {100, 101, 102, 103}]


def test_a_request_of_more_responses_than_a_batch_is_answered(engine: TransformersEngine) -> None:
    done = answers(engine, [Request("many", (4, 5), GREEDY, n=9), Request("one", (4, 5), GREEDY)])
    assert len(done["many"].texts) == 9
    assert done["many"].texts[0] == done["one"].texts[0]


def test_stop_strings_end_and_are_cut(engine: TransformersEngine) -> None:
    prompt = (9, 8, 7)
    whole = answers(engine, [Request("w", prompt, GREEDY)])["w"].texts[0]
    stop = whole[4:6]
    first = whole.index(stop)
    limited = Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=12, stop=("never", stop))
    done = answers(engine, [Request("s", prompt, limited), Request("w", prompt, GREEDY)])
    assert done["s"].texts == (whole[:first],)
    assert done["s"].finish_reasons == ("stop",)
    assert done["s"].completion_tokens[0] < 12
    assert done["s"].token_ids[0] == done["w"].token_ids[0][: done["s"].completion_tokens[0]]
    assert done["w"].texts == (whole,)


def test_scores_are_the_models_own(engine: TransformersEngine, tiny_model: str) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    prompts = [[1, 2, 3, 4], [9, 9]]
    for prompt, row in zip(prompts, engine.score(prompts), strict=True):
        with torch.no_grad():
            logps = model(torch.tensor([prompt])).logits[0].log_softmax(-1)
        expected = [float(logps[i, token]) for i, token in enumerate(prompt[1:])]
        assert row == pytest.approx(expected, abs=1e-5)


def test_sync_equals_the_merged_model_and_goes_back(
    engine: TransformersEngine, tiny_model: str, tmp_path: Path
) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    def save(name: str, seed: int, **changes: Any) -> Path:
        torch.manual_seed(seed)
        settings = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | changes
        policy = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(**settings))
        for key, weight in policy.named_parameters():
            if "lora_B" in key:
                weight.data.normal_(std=0.3)
        policy.save_pretrained(tmp_path / name)
        return tmp_path / name

    prompt = tuple(range(1, 20))
    base = engine.score([prompt])[0]
    adapters = [save("one", 1), save("two", 2, r=8, use_rslora=True), save("one-again", 1)]
    found = []
    for adapter in adapters:
        engine.sync(adapter)
        found.append(engine.score([prompt])[0])
        merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), adapter).merge_and_unload()
        with torch.no_grad():
            logps = merged(torch.tensor([prompt])).logits[0].log_softmax(-1)
        assert found[-1] == pytest.approx([float(logps[i, t]) for i, t in enumerate(prompt[1:])], abs=1e-4)
    assert found[0] == found[2]
    assert max(abs(a - b) for a, b in zip(found[0], base, strict=True)) > 0.05
    assert max(abs(a - b) for a, b in zip(found[0], found[1], strict=True)) > 0.05
    engine.sync(None)
    assert engine.score([prompt])[0] == base

    foreign = save("foreign", 3)
    config = foreign / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 4', '"r": 5'))
    with pytest.raises(EngineError, match="does not fit"):
        engine.sync(foreign)
    assert not engine.started


def test_samples_follow_the_distribution() -> None:
    """Gumbel-max sampling of 4,000 rows against the exact probabilities, with temperature, penalty and nucleus."""
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0])
    sampling = Sampling(temperature=0.8, top_p=0.93, presence_penalty=0.5)
    rows = 4000
    sampler = RowSampler([sampling] * rows, range(rows), 1, torch.device("cpu"))
    tokens: Any = torch.tensor([[3, 0]]).expand(rows, 2)  # prompt 3, generated 0: only the latter is penalized
    drawn = sampler(tokens, logits.expand(rows, 5).clone()).argmax(-1)  # type: ignore[arg-type]
    exact = ((logits - torch.tensor([0.5, 0, 0, 0, 0])) / 0.8).softmax(-1)
    assert float(exact[:3].sum()) < 0.93 < float(exact[:4].sum())
    exact[4] = 0
    exact /= exact.sum()
    shares = torch.bincount(drawn, minlength=5) / rows
    for share, probability in zip(shares.tolist(), exact.tolist(), strict=True):
        assert abs(share - probability) <= 4 * math.sqrt(max(probability * (1 - probability), 0) / rows)


def test_rows_end_on_their_own(byte_tokenizer: Any) -> None:
    text = byte_tokenizer("ab\nc")["input_ids"]
    rows = [
        Sampling(max_tokens=4),
        Sampling(max_tokens=9),
        Sampling(max_tokens=9, stop=("b\nc",)),
        Sampling(max_tokens=9, stop=("ba",)),
    ]
    end = RowEnd(rows, 2, byte_tokenizer)
    ids: Any = torch.tensor([[1, 2, *text]] * 4)
    assert end(ids, None).tolist() == [True, False, True, False]


def test_a_response_continues_its_prompt(byte_tokenizer: Any) -> None:
    prompt, response = byte_tokenizer("caf")["input_ids"], byte_tokenizer(" é!")["input_ids"]
    assert response_text(byte_tokenizer, prompt, response) == " é!"
    assert response_text(byte_tokenizer, [], response) == " é!"


QUESTIONS = (
    "What is the capital of France?",
    "Name three colors.",
    "Who wrote Hamlet?",
    "The river runs to the sea. " * 12 + "Where does the river run?",
)


@pytest.mark.slow
def test_greedy_equals_vllm_in_float32() -> None:
    from transformers import AutoTokenizer

    from longmab_pl.engines.vllm.engine import VLLMEngine
    from longmab_pl.models.hub import resolve_model

    model = resolve_model("bundled:smollm2-135m-instruct")
    tokenizer = AutoTokenizer.from_pretrained(model)
    plain = Sampling(temperature=0.0, presence_penalty=0.0, max_tokens=24)
    asked = []
    for i, question in enumerate(QUESTIONS):
        chat = [{"role": "user", "content": question}]
        prompt = tuple(tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"])
        asked.append(Request(f"plain {i}", prompt, plain))
        asked.append(Request(f"penalized {i}", prompt, Sampling(temperature=0.0, presence_penalty=1.0, max_tokens=24)))
    asked.append(Request("stopped", asked[0].prompt_ids, Sampling(temperature=0.0, max_tokens=24, stop=(" is",))))
    results, scores = [], []
    for engine in (TransformersEngine(max_model_len=512), VLLMEngine(max_model_len=512, kv_cache_gb=0.5)):
        with engine:
            engine.start(model)
            done = answers(engine, asked)
            # What vLLM's cache held is not part of the answer.
            results.append([(done[request.id].texts, done[request.id].finish_reasons) for request in asked])
            results[-1].append(tuple(done[request.id].completion_tokens for request in asked))
            scores.append(engine.score([asked[0].prompt_ids])[0])
    assert results[0] == results[1]
    assert scores[0] == pytest.approx(scores[1], abs=2e-3)
    assert results[0][0] == (("The capital of France is Paris.",), ("stop",))
