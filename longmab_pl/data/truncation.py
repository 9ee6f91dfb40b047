"""Truncation in the middle, which makes a pair's full context fit its prompt (LongMab-PO, pair construction)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from longmab_pl.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens that the original reserves for the prompt's instructions and the chat template.
_PROMPT_RESERVE = 32


def cut_middle(text: str, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> str:
    """Cut the middle out of a text of more than `max_tokens` tokens, keeping half of them at each end.

    As in the original: an odd budget loses one token, and tokens that the tokenizer adds (a BOS) count. A text that
    fits is also encoded and decoded, so special tokens spelled out in it disappear.

    Args:
        text: the full context.
        tokenizer: the policy's tokenizer.
        max_tokens: budget in tokens; 0 and 1 return an empty text (the original would return the whole text).

    Raises:
        DataError: `max_tokens` is negative.
    """
    if max_tokens < 0:
        raise DataError(
            f"the context's budget is {max_tokens} tokens: question and responses alone exceed the prompt; "
            "raise max_prompt_length or lower sampling.max_tokens"
        )
    ids = tokenizer([text], verbose=False)["input_ids"][0]
    if len(ids) > max_tokens:
        half = max_tokens // 2
        ids = ids[:half] + ids[len(ids) - half :]
    return tokenizer.decode(ids, skip_special_tokens=True)


def pair_context_budget(max_prompt_length: int, question_tokens: int, chosen_tokens: int, rejected_tokens: int) -> int:
    """Return the tokens left for a pair's context: `max_prompt_length - 32 - question - longer response`.

    All counts include the tokens that the tokenizer adds. A value of 0 or less means that there is no room for the
    context; `cut_middle` refuses a negative one.
    """
    return max_prompt_length - _PROMPT_RESERVE - question_tokens - max(chosen_tokens, rejected_tokens)


def middle_truncated(text: str, tokenizer: Any, max_tokens: int) -> tuple[str, bool]:
    """Cut a text to its first and last `max_tokens // 2` tokens, as the official LongBench program does.

    Args:
        text: the text to cut (LongBench: the whole filled prompt, before any chat template).
        tokenizer: a Hugging Face tokenizer; the special tokens it adds count, and are dropped when decoding.
        max_tokens: maximum length in tokens; an odd number loses one token, and below 2 the result is empty.

    Returns:
        The text and whether it was cut. A text that fits is returned unchanged.
    """
    ids = tokenizer(text, truncation=False, verbose=False)["input_ids"]
    if len(ids) <= max_tokens:
        return text, False
    half = max(max_tokens, 0) // 2
    if half == 0:
        return "", True
    halves = (ids[:half], ids[-half:])
    return "".join(tokenizer.decode(part, skip_special_tokens=True) for part in halves), True
