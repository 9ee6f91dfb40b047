"""Adapters that compute in the model's dtype give the gradients of those that compute in float32, up to rounding."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from longmab_pl.training import mixed_precision
from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.detached import detached_token_logps
from longmab_pl.training.logprobs import completion_logps, text_logps, token_logps
from longmab_pl.training.policy import LoRASettings, Precision, load_policy


def gradients(model: str, dtype: Precision, quantization: Any, dora: bool) -> torch.Tensor:
    """Return the adapter's gradients of a pair's margin."""
    policy = load_policy(model, LoRASettings(r=4, dora=dora), quantization, dtype)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(policy.named_parameters()):
            if parameter.requires_grad and "magnitude" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.05)
    ids = random.Random(0)
    pair = PreferenceExample("p", *(tuple(ids.randrange(3, 60) for _ in range(n)) for n in (60, 20, 15)))
    logps = completion_logps(policy, collate([pair]))
    (logps.chosen - logps.rejected).sum().backward()
    found = [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
    assert {g.dtype for g in found} == {torch.float32}
    return torch.cat(found)


@pytest.mark.parametrize(("quantization", "dora"), [("none", False), ("none", True), ("nf4", False)])
def test_gradients_are_as_near_to_float32_as_with_copies_of_all_inputs(
    tiny_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch, quantization: str, dora: bool
) -> None:
    model = tiny_model("llama")
    exact = gradients(model, "fp32", quantization, dora)
    copied = gradients(model, "bf16", quantization, dora)
    # What GPUs do, on the CPU.
    monkeypatch.setattr(mixed_precision, "applies", lambda causal: causal.dtype != torch.float32)
    in_model_dtype = gradients(model, "bf16", quantization, dora)
    assert not torch.equal(copied, in_model_dtype)

    def error(found: torch.Tensor) -> float:
        return float((found - exact).norm() / exact.norm())

    assert error(in_model_dtype) < max(2 * error(copied), 0.02)


def test_a_cpu_and_float32_stay_as_they_were(tiny_model: Callable[..., str]) -> None:
    policy = load_policy(tiny_model("llama"), LoRASettings(r=4))
    assert not mixed_precision.applies(policy.get_base_model())
    layers = [layer for layer in policy.modules() if isinstance(layer, BaseTunerLayer)]
    assert layers
    assert all(layer.cast_input_dtype_enabled for layer in layers)
    mixed_precision.leave_inputs_as_they_are(policy)
    assert not any(layer.cast_input_dtype_enabled for layer in layers)


@pytest.mark.parametrize("layout", ["packed", "concatenated", "detached"])
def test_every_way_of_computing_a_step_takes_adapters_in_the_models_dtype(
    tiny_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch, layout: Any
) -> None:
    monkeypatch.setattr(mixed_precision, "applies", lambda causal: causal.dtype != torch.float32)
    policy = load_policy(tiny_model("llama"), LoRASettings(r=4), dtype="bf16", gradient_checkpointing=True)
    pair = PreferenceExample("p", tuple(range(3, 43)), tuple(range(5, 15)), tuple(range(9, 16)))
    batch = collate([pair])
    found = detached_token_logps(policy, batch) if layout == "detached" else token_logps(policy, batch, layout=layout)
    found.sum().backward()
    # B starts at zero, so the gradient is that of B.
    assert all(p.grad.abs().sum() > 0 for n, p in policy.named_parameters() if ".lora_B." in n and p.grad is not None)
    assert torch.isfinite(text_logps(policy, range(3, 30))).all()


def test_a_last_norm_that_autocast_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As autocast on a GPU does with LayerNorm; the output head outside of it multiplies no two dtypes."""
    config = GPTNeoXConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(config).to(torch.bfloat16)
    expected = text_logps(model, range(3, 30))
    plain = torch.nn.LayerNorm.forward

    def in_float32(norm: torch.nn.LayerNorm, hidden: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return plain(norm, hidden)
        with torch.autocast("cpu", enabled=False):
            weight, bias = norm.weight.float(), norm.bias.float()
            return torch.nn.functional.layer_norm(hidden.float(), norm.normalized_shape, weight, bias, norm.eps)

    monkeypatch.setattr(torch.nn.LayerNorm, "forward", in_float32)
    monkeypatch.setattr(mixed_precision, "applies", lambda causal: causal.dtype != torch.float32)
    torch.testing.assert_close(text_logps(model, range(3, 30)), expected, atol=0.1, rtol=0.02)
