"""LongBench v2's decoding settings."""

from __future__ import annotations

TOKENS = 128
"""Longest answer."""

COT_TOKENS = 1024
"""Longest reasoning, where it is asked for first."""

TEMPERATURE = 0.1
"""The official program samples, without a seed."""

PROMPT_TOKENS = 120_000
"""The official cut of a prompt before its chat template, for windows of 131,072 tokens."""
