"""Models of known shapes with random weights: no download, written once into a folder, with a tokenizer of words."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import torch

LLAMA_3_1_8B: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
}
QWEN_2_5_7B: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131_072,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
}
TINY = {  # vLLM's CPU build has no attention for smaller heads
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
SHAPES: dict[str, dict[str, Any]] = {
    "random-1b": LLAMA_3_1_8B
    | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "random-8b": LLAMA_3_1_8B,
    "random-qwen-7b": QWEN_2_5_7B,
    "random-tiny": LLAMA_3_1_8B | TINY,
    "random-tiny-qwen": QWEN_2_5_7B | TINY,
}
"""Transformers' config of each shape: those of Llama 3.2 1B, Llama 3.1 8B and Qwen 2.5 7B, and of two toys."""


def random_model(name: str, workdir: Path) -> Path:
    """Return the folder of a model of `SHAPES`, written into `workdir` on first use (bfloat16)."""
    folder = workdir / name
    if (folder / "config.json").is_file():
        return folder
    from transformers import AutoConfig, AutoModelForCausalLM

    options = dict(SHAPES[name])
    config = AutoConfig.for_model(options.pop("model_type"), **options, bos_token_id=0, eos_token_id=1, pad_token_id=1)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        weights = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    weights.save_pretrained(unfinished)
    _write_tokenizer(unfinished, config.vocab_size)
    unfinished.rename(folder)
    del weights
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # other processes use the memory next
    return folder


def _write_tokenizer(folder: Path, size: int) -> None:
    """Write a tokenizer with one word for each of `size` ids, so that whatever is sampled is text."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": 0, "</s>": 1} | {f"w{i}": i for i in range(2, size)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w2"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="w2"
    )
    fast.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    fast.save_pretrained(folder)
    settings = folder / "generation_config.json"
    if settings.is_file():  # random weights hardly ever sample the end token: lengths are set by max_tokens
        settings.write_text(json.dumps({"eos_token_id": 1, "pad_token_id": 1}), encoding="utf-8")
