"""Fixtures of `tests/support`."""

from __future__ import annotations

from evaluation_fixtures import scripted_engine, tokenizer

__all__ = ["scripted_engine", "tokenizer"]
