"""Every attention implementation against the plain form, and what each of them is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from longmab_pl.errors import ConfigError
from longmab_pl.training.attention import (
    SEGMENTS,
    PackedMask,
    backbone_inputs,
    block_mask,
    choose_attention,
    padded,
    segment_attention,
)
from longmab_pl.training.batch import PackedBatch, PreferenceExample, collate
from longmab_pl.training.logprobs import check_packing, completion_logps, text_logps
from longmab_pl.training.policy import LoRASettings, load_policy

TinyModel = Callable[..., str]


def long_pairs() -> list[PreferenceExample]:
    """Three prompts with two, three and six completions, and the steps of one text; lengths that fill several blocks of
    128."""
    draw = torch.Generator().manual_seed(4)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 200, (n,), generator=draw).tolist())

    first, second, third = ids(200), ids(61), ids(30)
    shared, many = ids(17), [ids(n) for n in (9, 31, 4, 1, 22, 13)]
    text, one, two, three = ids(40), ids(70), ids(33), ids(50)
    return [
        PreferenceExample("a", first, ids(20), ids(14)),
        PreferenceExample("b", second, shared, ids(6)),
        PreferenceExample("c", second, ids(40), shared),
        PreferenceExample("d", third, many[0], many[1]),
        PreferenceExample("e", third, many[2], many[3]),
        PreferenceExample("f", third, many[4], many[5]),
        PreferenceExample("step 1", text, one, ids(30)),
        PreferenceExample("step 2", text + one, two, ids(12)),
        PreferenceExample("step 3", text + one + two, three, ids(21)),
        PreferenceExample("elsewhere", text + one + ids(5), ids(2), ids(8)),
    ]


def dense(mask: PackedMask, tokens: int) -> torch.Tensor:
    """What the segments let each token see: bool [T, T]."""
    seen = torch.zeros(tokens, tokens, dtype=torch.bool)
    for segment in mask.segments:
        columns = [c for stretch in segment.columns for c in stretch]
        allowed = segment.allowed
        if allowed is None:
            allowed = torch.ones(len(segment.rows), len(columns), dtype=torch.bool).tril()
        seen[segment.rows.start : segment.rows.stop, columns] = allowed
    return seen


@pytest.mark.parametrize("window", [None, 1, 2, 7, 64, 500])
def test_segments_see_what_the_mask_allows(window: int | None) -> None:
    batch = collate(long_pairs())
    mask = PackedMask.of(batch, window)
    assert torch.equal(dense(mask, batch.tokens), batch.attention_mask(window)[0, 0])
    rows = [row for segment in mask.segments for row in segment.rows]
    assert rows == list(range(batch.tokens))


def test_segments_hold_no_dense_mask_and_a_window_makes_them_linear() -> None:
    draw = torch.Generator().manual_seed(0)
    prompt = tuple(torch.randint(3, 200, (4000,), generator=draw).tolist())
    batch = collate([PreferenceExample("p", prompt, (5,) * 200, (6,) * 200)])
    full = PackedMask.of(batch).segments
    assert [segment.allowed is None for segment in full] == [True, False]
    # Both completions in one call over all keys: 400 rows of mask, not 4400.
    assert full[1].allowed.shape == (400, 4400)
    windowed = PackedMask.of(batch, 100).segments
    assert sum(segment.allowed.numel() for segment in windowed) < 4400 * 2 * 500


@pytest.mark.parametrize("window", [None, 7, 150])
def test_block_mask_is_pytorchs_own_without_the_dense_mask(window: int | None) -> None:
    draw = torch.Generator().manual_seed(1)
    prompt = tuple(torch.randint(3, 200, (400,), generator=draw).tolist())
    pairs = [*long_pairs(), PreferenceExample("g", prompt, (7,) * 150, (8,) * 150)]
    batch = collate(pairs)
    whole = padded(batch)
    assert whole.tokens % 128 == 0
    assert whole.tokens >= batch.tokens
    found = block_mask(whole, window)
    expected = create_block_mask(found.mask_mod, 1, 1, whole.tokens, whole.tokens, device="cpu", BLOCK_SIZE=128)
    assert torch.equal(found.to_dense(), expected.to_dense())
    # Some blocks lie wholly inside the prompt and need no mask; PyTorch finds the same ones.
    assert window is not None or int(found.full_kv_num_blocks.sum()) > 0
    assert found.full_kv_num_blocks.tolist() == expected.full_kv_num_blocks.tolist()
    for row in range(found.kv_num_blocks.shape[-1]):
        for table, count in (("kv_indices", "kv_num_blocks"), ("full_kv_indices", "full_kv_num_blocks")):
            n = int(getattr(found, count)[0, 0, row])
            assert getattr(found, table)[0, 0, row, :n].tolist() == getattr(expected, table)[0, 0, row, :n].tolist()
    # Element for element it is the mask itself, and every padding token sees something.
    index = torch.arange(whole.tokens)
    seen = found.mask_mod(0, 0, index[:, None], index)
    assert torch.equal(seen[: batch.tokens, : batch.tokens], batch.attention_mask(window)[0, 0])
    assert seen.any(dim=1).all()
    assert not seen[: batch.tokens, batch.tokens :].any()


FAMILIES = [
    ("llama", {}),
    ("qwen2", {}),
    ("mistral", {"sliding_window": 20}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}),
    ("gemma2", {"sliding_window": 20}),
    ("llama", {"hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 1}),
]


def test_plain_texts_keep_clear_of_the_decoding_kernel(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 128 tokens FlexAttention would take it, and on CUDA it cannot be built for four query heads to a key's."""
    from transformers import AutoModelForCausalLM
    from transformers.integrations import flex_attention

    used = []
    real = flex_attention.compile_friendly_flex_attention

    def recorded(*args: Any, kernel_options: Any = None, **kwargs: Any) -> Any:
        used.append(kernel_options)
        return real(*args, kernel_options=kernel_options, **kwargs)

    monkeypatch.setattr(flex_attention, "compile_friendly_flex_attention", recorded)
    logps = {}
    for implementation in ("flex_attention", "sdpa"):
        model = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), attn_implementation=implementation).eval()
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            logps[implementation] = text_logps(model, range(1, 34))
    assert used
    assert all(options == {"BACKEND": "TRITON"} for options in used)
    torch.testing.assert_close(logps["flex_attention"], logps["sdpa"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("family", "options"), FAMILIES)
@pytest.mark.parametrize("implementation", ["eager", "flex_attention", SEGMENTS])
def test_log_probabilities_and_gradients_are_those_of_the_plain_form(
    tiny_model: TinyModel,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    options: dict,
    implementation: str,
    checkpointing: bool,
) -> None:
    if family == "gemma2" and implementation == SEGMENTS:
        pytest.skip("SDPA cannot cap attention scores; load_policy refuses it (tested below)")
    if family == "gemma2" and implementation == "flex_attention" and checkpointing:
        pytest.skip("without its kernels FlexAttention cannot trace a score function inside a recomputation")
    policy = load_policy(
        tiny_model(family, **options), LoRASettings(r=2), dtype="fp32", gradient_checkpointing=checkpointing
    )
    torch.manual_seed(1)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    batch = collate(long_pairs())

    def run(layout: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        policy.zero_grad()
        logps = completion_logps(policy, batch, layout=layout)
        (logps.rejected - logps.chosen).mean().mul(0.1).backward()
        found = torch.stack([logps.chosen, logps.rejected]).detach()
        return found, {n: p.grad.clone() for n, p in policy.named_parameters() if p.requires_grad}

    plain, plain_gradients = run("concatenated")
    policy.get_base_model().set_attn_implementation(implementation)
    # FlexAttention refuses gradients on CPU, for which there are no kernels; unfused it has them, with the same masks.
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    with torch.compiler.set_stance("force_eager"):
        packed, gradients = run("packed")
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=1e-4, atol=1e-5, msg=name)


def test_what_each_setting_means() -> None:
    from transformers import Gemma2Config, LlamaConfig

    llama, gemma = LlamaConfig(), Gemma2Config()
    assert choose_attention("auto", llama, "cpu") == ["sdpa", "eager"]
    assert choose_attention("auto", llama, "cuda:1") == ["flex_attention", "sdpa", "eager"]
    assert choose_attention("auto", gemma, "cpu") == ["eager"]
    assert choose_attention("auto", gemma, "cuda") == ["flex_attention", "eager"]
    assert choose_attention("auto", LlamaConfig(attention_dropout=0.1), "cuda") == ["sdpa", "eager"]
    assert choose_attention("sdpa", llama, "cuda") == ["sdpa"]
    with pytest.raises(ConfigError, match="no backward pass on cpu; use auto or sdpa"):
        choose_attention("flex", llama, "cpu")
    with pytest.raises(ConfigError, match="dropout"):
        choose_attention("flex", LlamaConfig(attention_dropout=0.1), "cuda")
    with pytest.raises(ConfigError, match="caps its attention scores"):
        choose_attention("sdpa", gemma, "cpu")


def test_auto_on_this_machine(tiny_model: TinyModel) -> None:
    llama = load_policy(tiny_model("llama"), dtype="fp32")
    assert llama.config._attn_implementation == SEGMENTS
    gemma = load_policy(tiny_model("gemma2"), dtype="fp32")
    assert gemma.config._attn_implementation == "eager"
    assert check_packing(gemma) == "packed"


@pytest.mark.parametrize(("family", "fallback"), [("llama", SEGMENTS), ("gemma2", "eager")])
def test_where_flex_does_not_run_the_next_best_does(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch, family: str, fallback: str
) -> None:
    """On a CPU it really does not run: its backward pass is missing."""
    from longmab_pl.training import attention
    from longmab_pl.training.module import DPOModule

    as_on_cuda = attention.choose_attention

    def choose(setting: str, config: object, device: object) -> list[str]:
        return ["flex_attention"] if device == torch.device("cpu") else as_on_cuda(setting, config, device)

    monkeypatch.setattr("longmab_pl.training.policy.choose_attention", choose)
    module = DPOModule(tiny_model(family), dtype="fp32")
    with torch.compiler.set_stance("force_eager"), pytest.warns(UserWarning, match="does not support backward on CPU"):
        module.configure_model()
    assert module.policy.get_base_model().config._attn_implementation == fallback
    assert module.layout == "packed"
    loss = module.step_loss(collate(long_pairs())).mean()
    loss.backward()


def test_sequences_that_are_not_packed_run_as_plain_sdpa(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), dtype="fp32").eval()
    # A padded batch: the registered mask function must serve this attention too.
    ids = torch.tensor([[0, 0, 0, 11, 12, 13], [21, 22, 23, 24, 25, 26]])
    padding = (ids != 0).long()
    with torch.no_grad():
        found = policy(input_ids=ids, attention_mask=padding).logits
        policy.get_base_model().set_attn_implementation("eager")
        expected = policy(input_ids=ids, attention_mask=padding).logits
    torch.testing.assert_close(found[padding.bool()], expected[padding.bool()], rtol=1e-4, atol=1e-4)


def test_an_attention_that_sdpa_does_not_know_is_refused() -> None:
    batch = collate([PreferenceExample("p", (1, 2), (3,), (4,))])
    states = torch.zeros(1, 1, 4, 8)
    with pytest.raises(ConfigError, match="s_aux"):
        segment_attention(torch.nn.Identity(), states, states, states, PackedMask.of(batch), s_aux=torch.zeros(1))


def test_a_mask_of_its_own_for_each_kind_of_layer(tiny_model: TinyModel) -> None:
    policy = load_policy(
        tiny_model("qwen2", use_sliding_window=True, sliding_window=6, max_window_layers=1), dtype="fp32"
    )
    batch: PackedBatch = collate(long_pairs())
    masks = backbone_inputs(policy.get_base_model(), batch)["attention_mask"]
    assert set(masks) == {"full_attention", "sliding_attention"}
    assert torch.equal(dense(masks["full_attention"], batch.tokens), batch.attention_mask()[0, 0])
    assert torch.equal(dense(masks["sliding_attention"], batch.tokens), batch.attention_mask(6)[0, 0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention's kernels need a CUDA GPU")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_flex_kernels_agree_with_segments_over_many_lengths(tiny_model: TinyModel, checkpointing: bool) -> None:
    folder, found = tiny_model("llama"), {}
    for attention in ("flex", "sdpa"):
        policy = load_policy(
            folder, dtype="fp32", attention=attention, gradient_checkpointing=checkpointing, device="cuda"
        )
        torch.manual_seed(1)
        for parameter in policy.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.05)
        margins, frames = [], []
        for n in range(1, 7):
            logps = completion_logps(policy, collate(long_pairs()[:n]).to("cuda"))
            margins.append((logps.rejected - logps.chosen).mean())
            frames.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        torch.stack(margins).mean().backward()
        # One compilation for the first length, one for all others.
        assert attention == "sdpa" or frames[-1] == frames[2]
        found[attention] = [torch.stack(margins), *(p.grad for p in policy.parameters() if p.requires_grad)]
    for flex, segments in zip(found["flex"], found["sdpa"], strict=True):
        torch.testing.assert_close(flex, segments, rtol=1e-2, atol=1e-3)
