"""Models with random weights, small enough to train in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save_model(folder: Path, tokenizer: Any, hidden: int = 32, layers: int = 2, positions: int = 2048) -> str:
    """A Llama with random weights and this tokenizer as a Transformers folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=hidden,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
