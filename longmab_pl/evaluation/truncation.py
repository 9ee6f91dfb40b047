"""Middle truncation: keep the beginning and the end of a text that is too long (LongBench, arXiv 2308.14508)."""

from __future__ import annotations

from typing import Any


def middle_truncated(text: str, tokenizer: Any, max_tokens: int) -> tuple[str, bool]:
    """Cut a text to its first and last `max_tokens // 2` tokens, as the official LongBench program does.

    Args:
        text: what to cut (LongBench: the whole filled prompt, before any chat template).
        tokenizer: a Hugging Face tokenizer; its default special tokens count, and are dropped when decoding.
        max_tokens: longest text in tokens; an odd number loses one token, and below 2 nothing is left.

    Returns:
        The text and whether it was cut. A text that fits is returned untouched.
    """
    ids = tokenizer(text, truncation=False, verbose=False)["input_ids"]
    if len(ids) <= max_tokens:
        return text, False
    half = max(max_tokens, 0) // 2
    if half == 0:
        return "", True
    halves = (ids[:half], ids[-half:])
    return "".join(tokenizer.decode(part, skip_special_tokens=True) for part in halves), True
