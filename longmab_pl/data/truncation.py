"""The middle cut that makes a pair's full context fit its prompt (LongMab-PO, pair construction)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from longmab_pl.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What the original keeps free for the prompt's instructions and the chat template.
_PROMPT_RESERVE = 32


def cut_middle(text: str, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> str:
    """Keep the first and the last half of `max_tokens` tokens of a text that has more.

    As in the original: an odd budget loses one token, tokens that the tokenizer adds (a BOS) count, and the text
    comes back through the tokenizer also where it fits, so special tokens spelled out in it disappear.

    Args:
        text: the full context.
        tokenizer: the policy's.
        max_tokens: budget in tokens; 0 and 1 leave nothing (the original would return the whole text).

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
    """Tokens left for the context of a preference pair: `max_prompt_length - 32 - question - longer response`.

    All counts include what the tokenizer adds by itself. A value that is not positive means that the pair has no
    room for its context; `cut_middle` refuses a negative one.
    """
    return max_prompt_length - _PROMPT_RESERVE - question_tokens - max(chosen_tokens, rejected_tokens)


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
