"""The middle cut of long prompts: the first half of the tokens and the last, the odd one at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def without_middle(items: Sequence[T], limit: int) -> list[T]:
    """Return the first `limit // 2` items and the rest of `limit` from the end, or all if there are at most `limit`."""
    if len(items) <= limit:
        return list(items)
    first = limit // 2
    return [*items[:first], *items[len(items) - (limit - first) :]]


def without_middle_evenly(items: Sequence[T], limit: int) -> list[T]:
    """Return the first and the last `limit // 2` items, or all if there are at most `limit`."""
    if len(items) <= limit:
        return list(items)
    half = limit // 2
    return [*items[:half], *items[len(items) - half :]]


def cut_text(text: str, tokenizer: Any, limit: int) -> tuple[str, bool]:
    """Return a text of at most `limit` tokens and whether it was cut; a text that fits is returned unchanged.

    Args:
        text: the whole filled prompt, before any chat template.
        tokenizer: a Hugging Face tokenizer; the tokens that it adds by itself count.
        limit: tokens that are kept; a text that is cut loses its spelled-out special tokens.
    """
    ids = tokenizer(text, truncation=False, verbose=False)["input_ids"]
    if len(ids) <= limit:
        return text, False
    return tokenizer.decode(without_middle(ids, limit), skip_special_tokens=True), True
