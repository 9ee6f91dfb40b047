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


def surely_longer(text: str, tokenizer: Any, limit: int) -> bool:
    """Return whether a text has more than `limit` tokens, judged by its first 4,000 characters and with a wide margin.

    It saves the tokenization of a whole text that will be cut; False says nothing.

    Args:
        text: the text.
        tokenizer: a Hugging Face tokenizer.
        limit: number of tokens.
    """
    start = text[:4000]
    if len(text) <= 2 * len(start):
        return False
    per_character = len(tokenizer(start, truncation=False, verbose=False)["input_ids"]) / len(start)
    return len(text) * per_character > 2 * limit
