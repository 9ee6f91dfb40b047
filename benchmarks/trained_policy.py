"""The policy whose training steps are measured: options of the command, loading, and the results' file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from longmab_pl.models.hub import resolve_model
from longmab_pl.training import LoRASettings
from longmab_pl.training.attention import Attention
from longmab_pl.training.policy import load_policy

if TYPE_CHECKING:
    from peft import PeftModel


def add_options(parser: argparse.ArgumentParser, repeats: int) -> None:
    """Add the options that all of these benchmarks have."""
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--out", type=Path, help="write the results as JSON")


def random_adapter(chosen: argparse.Namespace, attention: Attention = "auto") -> PeftModel:
    """Return the chosen model with gradient checkpointing and a LoRA of rank 16 that is not the identity."""
    policy = load_policy(
        resolve_model(chosen.model),
        LoRASettings(r=16),
        dtype=chosen.dtype,
        attention=attention,
        gradient_checkpointing=True,
    ).to(chosen.device)
    torch.manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.01)
    return policy


def write(chosen: argparse.Namespace, results: Mapping[str, Any]) -> None:
    """Write settings and results to `--out`, if it is given."""
    if chosen.out:
        chosen.out.write_text(json.dumps({"settings": vars(chosen) | {"out": None}, "results": results}, indent=1))
