"""The budget's formulae against models: counted, and run on tensors that have a shape but no memory."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from measured_memory import TensorMemory
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoConfig, AutoModelForCausalLM

from longmab_pl.preflight.inputs import PUBLISHED
from longmab_pl.preflight.memory_model import (
    NF4_BITS,
    EngineSettings,
    TrainingSettings,
    engine_memory,
    model_size,
    trainer_memory,
    weight_bytes,
)
from longmab_pl.training.attention import PackedMask, padded, use_segments
from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.logprobs import completion_logps, head_logps
from longmab_pl.training.policy import LoRASettings, load_policy
from longmab_pl.training.sequence_parallel import SequenceGroup, SplitMask
from longmab_pl.training.split_logps import split_hidden

LLAMA, QWEN, *_ = PUBLISHED


def config(name: str, **changes):
    kind, dimensions = PUBLISHED[name]
    return AutoConfig.for_model(kind, **dimensions | changes)


@pytest.mark.parametrize(
    ("name", "parameters", "adapter", "kv_kib"),
    [(LLAMA, 8_030_261_248, 20_971_520, 128), (QWEN, 7_615_616_512, 20_185_088, 56)],
)
def test_counts_are_those_of_the_published_models(name, parameters, adapter, kv_kib):
    size = model_size(config(name), LoRASettings(r=8))
    assert size.parameters == parameters
    assert size.adapter == adapter
    assert size.kv_values * 2 / 1024 == kv_kib, "KiB per token in bf16"
    assert model_size(config(name), LoRASettings(r=16)).adapter == 2 * adapter


def test_counts_are_those_of_a_loaded_model(tiny_model):
    policy = load_policy(tiny_model, LoRASettings(r=4, dora=True, target_modules=["q_proj", "down_proj"]), dtype="fp32")
    size = model_size(
        AutoConfig.from_pretrained(tiny_model), LoRASettings(r=4, dora=True, target_modules=["q_proj", "down_proj"])
    )
    assert size.adapter == sum(p.numel() for p in policy.parameters() if p.requires_grad)
    assert size.parameters == sum(p.numel() for p in policy.parameters()) - size.adapter


def test_unfitting_target_modules_are_refused():
    with pytest.raises(ValueError, match="no_such"):
        model_size(config(LLAMA, num_hidden_layers=1), LoRASettings(target_modules=["no_such"]))


def shape_only_policy(name: str, layers: int, dtype: torch.dtype, mode: FakeTensorMode, checkpointing: bool):
    """The policy as `load_policy` makes it, with real shapes and no memory."""
    from peft import get_peft_model

    settings = config(name, num_hidden_layers=layers)
    settings._attn_implementation = "sdpa"
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            base = AutoModelForCausalLM.from_config(settings)
    finally:
        torch.set_default_dtype(before)
    base.requires_grad_(False)
    policy = get_peft_model(base, LoRASettings().to_peft())
    with mode:
        for module in policy.modules():
            for tensors, make in (
                (module._parameters, lambda t, p: torch.nn.Parameter(t, requires_grad=p.requires_grad)),
                (module._buffers, lambda t, b: t),
            ):
                for key, old in tensors.items():
                    if old is not None:
                        tensors[key] = make(torch.empty(old.shape, dtype=old.dtype), old)
    if checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return policy.train()


@pytest.mark.parametrize("name", [LLAMA, QWEN])
@pytest.mark.parametrize(("dtype", "checkpointing"), [("bf16", True), ("bf16", False), ("fp32", True), ("fp32", False)])
def test_activations_are_within_a_tenth_of_the_training_step(name, dtype, checkpointing):
    """Two layers of the real width, 4k tokens; what the reference pass and the step take, tensor by tensor."""
    prompt, answer, layers = 3600, 200, 2
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    torch_dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    policy = shape_only_policy(name, layers, torch_dtype, mode, checkpointing)
    pair = PreferenceExample("pair", tuple(range(prompt)), tuple(range(1, answer)), tuple(range(2, answer + 1)))
    batch = collate([pair])._map(mode.from_tensor)
    with mode, TensorMemory(policy) as memory:
        with torch.no_grad():
            reference = completion_logps(policy, batch)
        reference_peak = memory.peak
        del reference
        memory.restart()
        logps = completion_logps(policy, batch)
        (logps.chosen - logps.rejected).sum().backward()
    size = model_size(config(name, num_hidden_layers=layers), LoRASettings())
    settings = TrainingSettings(
        batch.tokens, dtype_bytes=torch_dtype.itemsize, gradient_checkpointing=checkpointing, dense_mask=True
    )
    expected = trainer_memory(size, settings)
    step = expected.step - expected.gradients  # its optimizer's copies come later
    assert memory.peak == pytest.approx(step, rel=0.1)
    assert reference_peak == pytest.approx(expected.reference_pass, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [LLAMA, QWEN])
def test_a_slice_of_a_sequence_takes_what_as_many_tokens_take(name, monkeypatch):
    """One of four processes that share 16,400 tokens; their exchanges move nothing here, but have their buffers."""
    prompt, answer, layers, processes = 16_000, 200, 2, 4
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    policy = shape_only_policy(name, layers, torch.bfloat16, mode, checkpointing=True)
    causal = policy.get_base_model()
    use_segments(causal)
    pair = PreferenceExample("pair", tuple(range(prompt)), tuple(range(1, answer)), tuple(range(2, answer + 1)))
    real = collate([pair])
    batch = real._map(mode.from_tensor)
    packed = PackedMask.of(padded(real, processes))
    dist.init_process_group("fake", store=FakeStore(), rank=processes - 1, world_size=processes)
    group = SequenceGroup(dist.group.WORLD, processes - 1, processes)
    split = SplitMask.of(packed, group, torch.device("cpu"))
    # A tensor without memory cannot become one of a class of its own.
    monkeypatch.setattr(PackedMask, "of", lambda *_: packed)
    monkeypatch.setattr(SplitMask, "of", lambda *_: split)
    try:
        with mode, TensorMemory(policy) as memory:
            hidden, own = split_hidden(causal, batch, group)
            head_logps(causal, hidden[-2 * answer + 2 :], batch.target_ids).sum().backward()
    finally:
        dist.destroy_process_group()
    assert len(own) == hidden.shape[0] == 4100
    settings = TrainingSettings(batch.tokens, sequence_parallel=processes)
    expected = trainer_memory(model_size(config(name, num_hidden_layers=layers), LoRASettings()), settings)
    assert memory.peak == pytest.approx(expected.step - expected.gradients, rel=0.1)


def test_weights_that_are_spread_leave_a_share_and_what_a_step_gathers():
    size = model_size(config(LLAMA, num_hidden_layers=8), LoRASettings())
    whole, spread = (trainer_memory(size, TrainingSettings(512, shards=n)) for n in (1, 4))
    ends, layer = 2 * 128256 * 4096 * 2, size.linear / 8 * 2
    norms = (2 * 8 + 1) * 4096 * 2
    assert whole.weights == 8 * layer + ends + norms
    assert spread.weights == pytest.approx((8 * layer + ends / 2 + norms) / 4 + ends + 2 * layer)
    assert whole.adapter == 4 * spread.adapter


def test_offload_leaves_the_layers_inputs_to_the_host():
    size = model_size(config(QWEN, num_hidden_layers=4), LoRASettings())
    here = trainer_memory(size, TrainingSettings(8192))
    there = trainer_memory(size, TrainingSettings(8192, offload=True))
    inputs = 4 * 8192 * 3584 * 2
    assert here.step - there.step == inputs == there.host
    assert here.host == 0


def test_paged_optimizer_and_second_adapter():
    size = model_size(config(QWEN, num_hidden_layers=1), LoRASettings())
    plain, paged = (trainer_memory(size, TrainingSettings(512, paged_8bit=p)) for p in (False, True))
    assert plain.adapter - paged.adapter == size.adapter * 6
    two = trainer_memory(size, TrainingSettings(512, adapter_copies=2))
    assert two.adapter - plain.adapter == size.adapter * 4


def test_the_kv_cache_is_what_the_engines_share_leaves():
    size = model_size(config(LLAMA, num_hidden_layers=2), LoRASettings())
    run = EngineSettings(20e9, 16, 2, 2, concurrency=8, max_model_len=4096, lora_rank=16, graphs=True)
    inside = engine_memory(size, run, adapter_rank=8)
    assert inside.weights == size.parameters * 2
    assert inside.adapter == size.adapter * 2 * 2, "twice the rank, bf16"
    assert inside.weights + inside.adapter + inside.activations + inside.graphs + inside.kv_cache == pytest.approx(20e9)
    assert inside.kv_tokens == inside.kv_cache // (2 * 2 * 8 * 128 * 2)
    assert engine_memory(size, EngineSettings(1e9, 16, 2, 2, 8, 4096, 16, True), 8).kv_tokens == 0


@pytest.mark.slow
def test_nf4_takes_what_bitsandbytes_says():
    from longmab_pl.models.hub import resolve_model

    folder = resolve_model("bundled:smollm2-135m-instruct")
    policy = load_policy(folder, LoRASettings(), "nf4")
    size = model_size(AutoConfig.from_pretrained(folder), LoRASettings())
    # What Transformers calls the footprint counts the packed weights but not their scales.
    found = policy.get_base_model().get_memory_footprint() - size.adapter * 4
    for module in policy.modules():
        if (state := getattr(getattr(module, "weight", None), "quant_state", None)) is not None:
            found += state.absmax.nbytes + state.state2.absmax.nbytes
    assert found == pytest.approx(weight_bytes(size, NF4_BITS), rel=0.02)


@pytest.mark.slow
def test_a_real_steps_tensors_are_within_a_quarter():
    """On the bundled model nothing is as wide as what the coefficients were read off, so the error is larger."""
    from longmab_pl.models.hub import resolve_model

    folder = resolve_model("bundled:smollm2-135m-instruct")
    policy = load_policy(folder, LoRASettings(), dtype="fp32")
    size = model_size(AutoConfig.from_pretrained(folder), LoRASettings())
    batch = collate([PreferenceExample("pair", tuple(range(800)), tuple(range(1, 101)), tuple(range(2, 102)))])
    with TensorMemory(policy) as memory:
        logps = completion_logps(policy, batch)
        (logps.chosen - logps.rejected).sum().backward()
    expected = trainer_memory(size, TrainingSettings(batch.tokens, dtype_bytes=4))
    step = expected.step - expected.gradients + size.adapter * 4
    assert memory.peak == pytest.approx(step, rel=0.25)
