"""Adapters for tiny models, large enough to change every answer."""

from __future__ import annotations

from pathlib import Path

import torch


def save_adapter(folder: Path, model: str) -> Path:
    """A LoRA adapter with random weights as a PEFT folder."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    settings = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), settings).save_pretrained(folder)
    return folder
