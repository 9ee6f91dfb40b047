"""Tiny random-weight models of three families, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

VOCABULARY = 211


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[..., str]:
    """A factory of model folders: `tiny_model("llama", sliding_window=8)` -> path. Weights are large, so that errors
    show."""

    def make(family: str = "llama", **overrides: Any) -> str:
        import transformers as hf

        configs = {
            "llama": hf.LlamaConfig,
            "qwen2": hf.Qwen2Config,
            "mistral": hf.MistralConfig,
            "gemma2": hf.Gemma2Config,
            "granite": hf.GraniteConfig,
            "bloom": hf.BloomConfig,
        }
        options: dict[str, Any] = {
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 512,
            "initializer_range": 0.2,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        }
        if family == "mistral":
            options["sliding_window"] = None
        if family == "bloom":
            options = {"vocab_size": VOCABULARY, "hidden_size": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
        options.update(overrides)
        torch.manual_seed(0)
        model = hf.AutoModelForCausalLM.from_config(configs[family](**options))
        folder = tmp_path / f"{family}-{len(list(tmp_path.iterdir()))}"
        model.save_pretrained(folder)
        return str(folder)

    return make
