"""How many tokens a model takes, read from configs as they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.models.tokenizer import context_limit

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({}, 256),
        ({"rope_scaling": None}, 256),
        ({"rope_scaling": {"type": "linear", "factor": 8.0}}, 2048),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2}}, 512),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, 1024),
        # Already scaled: Llama 3.1 says 131072 with a factor of 8 on 8192.
        ({"rope_scaling": {**LLAMA3, "original_max_position_embeddings": 32}}, 256),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}, 256),
        # Transformers 5 writes the base and the scaling together.
        ({"rope_parameters": {"rope_type": "linear", "factor": 8.0, "rope_theta": 10000.0}}, 2048),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}, 512),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}, 256),
    ],
    ids=lambda v: json.dumps(v)[:60],
)
def test_scaled_positions_count_as_vllm_counts_them(tmp_path: Path, settings: dict[str, Any], tokens: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | settings))
    assert context_limit(str(tmp_path)) == tokens


def test_a_factor_for_each_kind_of_layer(tmp_path: Path) -> None:
    from transformers import Gemma3TextConfig, Olmo3Config

    from longmab_pl.models.tokenizer import position_limit

    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    # Gemma 3 states the scaled length, whatever its factor.
    assert position_limit(Gemma3TextConfig(max_position_embeddings=4096, rope_parameters=rope)) == 4096
    config = Olmo3Config(max_position_embeddings=4096)
    config.rope_parameters = rope
    assert position_limit(config) == 8 * 4096


def test_a_config_without_positions_has_no_limit() -> None:
    from transformers import BloomConfig

    from longmab_pl.models.tokenizer import position_limit

    assert position_limit(BloomConfig()) is None


@pytest.mark.parametrize("kind", [None, "TokenizersBackend", "AutoTokenizer", "LlamaConfig", "no.such Tokenizer"])
def test_the_class_chosen_before_loads_the_same_tokenizer(tiny_model: str, kind: str | None) -> None:
    from transformers import AutoTokenizer

    from longmab_pl.models.tokenizer import load_tokenizer

    ours, theirs = load_tokenizer(tiny_model, kind=kind), AutoTokenizer.from_pretrained(tiny_model)
    assert type(ours) is type(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours("Where is it?")["input_ids"] == theirs("Where is it?")["input_ids"]
