"""Rewards: what a response is scored by."""

from __future__ import annotations

HOMES: dict[str, str] = {}

__all__: list[str] = []
