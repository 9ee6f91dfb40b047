"""What adapters are accepted, made by PEFT itself in every way in which they hold more than LoRA's matrices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from longmab_pl.errors import ConfigError
from longmab_pl.models.adapter_files import (
    adapter_digest,
    check_adapter,
    check_plain_lora,
    fitting_adapter,
    uses_dora,
)
from longmab_pl.training.policy import LoRASettings, load_policy


@pytest.fixture
def untied(tmp_path: Path) -> Path:
    return save_base(tmp_path / "untied", tie_word_embeddings=False)


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    return save_base(tmp_path / "tied", tie_word_embeddings=True)


def save_base(folder: Path, **options: Any) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=60,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            **options,
        )
    ).save_pretrained(folder)
    return folder


def save_adapter(base: Path, tokens: int | None = None, embeddings: str | bool = "auto", **settings: Any) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    if tokens is not None:
        model.resize_token_embeddings(tokens)
    options = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **settings}
    policy = get_peft_model(model, LoraConfig(**options))
    folder = base.parent / "adapter"
    policy.save_pretrained(folder, save_embedding_layers=embeddings)
    return folder


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"modules_to_save": ["lm_head"]}, "a whole output head"),
        ({"modules_to_save": ["down_proj"]}, "weights of whole layers"),
        ({"trainable_token_indices": [3, 4]}, "embeddings of single tokens"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "on the embeddings|own weights"),
        ({"target_modules": ["q_proj", "lm_head"]}, "the base model's own weights"),
        ({"target_modules": ["q_proj", "mlp.up_proj"], "lora_bias": True}, "biases"),
        ({"tokens": 64}, "a vocabulary that was resized"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_adapters_with_more_than_lora_are_refused_with_the_reason(
    untied: Path, settings: dict[str, Any], reason: str
) -> None:
    adapter = save_adapter(untied, **settings)
    for check in (lambda: check_plain_lora(adapter), lambda: fitting_adapter(adapter, str(untied))):
        with pytest.raises(ConfigError, match=rf"the adapter has .*({reason}).*merge_and_unload"):
            check()


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_dora": True}, {"use_rslora": True}, {"target_modules": ["q_proj", "lm_head"]}],
    ids=["lora", "dora", "rslora", "untied head"],
)
def test_lora_and_dora_on_linear_layers_are_accepted(untied: Path, settings: dict[str, Any]) -> None:
    adapter = save_adapter(untied, embeddings=False, **settings)
    check_plain_lora(adapter)
    assert fitting_adapter(adapter, str(untied)).rank == 2
    assert uses_dora(adapter) == settings.get("use_dora", False)


def test_an_adapter_on_a_head_that_shares_its_weight_is_refused(tied: Path) -> None:
    adapter = save_adapter(tied, embeddings=False, target_modules=["q_proj", "lm_head"])
    with pytest.raises(ConfigError, match="it changes lm_head, whose weight this model uses for its embeddings too"):
        fitting_adapter(adapter, str(tied))


def test_training_refuses_adapters_on_embeddings(tied: Path, untied: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.lora\.target_modules names the embeddings"):
        load_policy(str(untied), LoRASettings(target_modules=["q_proj", "embed_tokens"]), dtype="fp32")
    with pytest.raises(ConfigError, match=r"model\.lora\.target_modules names the output head"):
        load_policy(str(tied), LoRASettings(target_modules=["q_proj", "lm_head"]), dtype="fp32")
    policy = load_policy(str(untied), LoRASettings(target_modules=["q_proj", "lm_head"]), dtype="fp32")
    assert any("lm_head.lora_A" in name for name, p in policy.named_parameters() if p.requires_grad)


def test_an_adapter_whose_settings_name_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "megatron_config": {"a": 1}}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="megatron_config names code to import"):
        check_plain_lora(tmp_path)


def test_no_engine_and_no_command_takes_an_adapter_whose_settings_name_code(untied: Path) -> None:
    adapter = save_adapter(untied, embeddings=False)
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"megatron_config": {"a": 1}}))
    for check in (check_adapter, adapter_digest, lambda folder: fitting_adapter(folder, str(untied))):
        with pytest.raises(ConfigError, match="megatron_config names code to import"):
            check(adapter)
