"""LongBench v2's decoding settings."""

from __future__ import annotations

TOKENS = 128
"""Longest answer in tokens."""

COT_TOKENS = 1024
"""Longest reasoning in tokens, where it is asked for first."""

TEMPERATURE = 0.1
"""Sampling temperature of the official program, which sets no seed."""

PROMPT_TOKENS = 120_000
"""Official limit of a prompt in tokens before its chat template, for windows of 131,072 tokens."""
