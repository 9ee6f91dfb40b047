"""From messages and answers to token ids, through the tokenizer's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.prompts import encoding
from longmab_pl.training.batch import PreferenceExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Letters only, so that no template trims it and no tokenizer treats it as special.
_MARKER = "xANSWERx"


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], prefill: str = ""
) -> tuple[int, ...]:
    """Token ids of a conversation up to where the assistant's next words begin.

    Args:
        tokenizer: with a chat template.
        messages: `{"role", "content"}` each, the last one not the assistant's.
        prefill: text with which the assistant's turn begins (it belongs to the prompt, not to the
            answer).
    """
    return encoding.chat(tokenizer, messages, prefill=prefill).ids


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token with which this chat template closes an assistant's turn (often, not always, the end-of-sequence
    token).

    Raises:
        ConfigError: the template writes no such token and the tokenizer has no end-of-sequence token.
    """
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARKER}], tokenize=False
    )
    after = tokenizer.encode(rendered.rpartition(_MARKER)[2], add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for token in after:
        if token in special:
            return token
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            "the chat template closes no assistant turn and the tokenizer has no end-of-sequence token; set one"
        )
    return int(tokenizer.eos_token_id)


def tokenize_pair(
    tokenizer: PreTrainedTokenizerBase,
    *,
    id: str,
    messages: Sequence[Mapping[str, str]],
    chosen: str,
    rejected: str,
    chosen_ended: bool = True,
    rejected_ended: bool = True,
    chosen_reward: float = 0.0,
    rejected_reward: float = 0.0,
    prefill: str = "",
    max_length: int | None = None,
    chosen_completion_mask: tuple[int, int] | None = None,
    rejected_completion_mask: tuple[int, int] | None = None,
) -> PreferenceExample:
    """Tokenize one preference pair.

    Args:
        tokenizer: with a chat template.
        id: the pair's name.
        messages: the prompt, `{"role", "content"}` each.
        chosen: text of the better answer.
        rejected: text of the worse answer.
        chosen_ended: the answer ended by itself (True: the end-of-turn token is learned as part of it) rather than at
            the length limit.
        rejected_ended: likewise.
        chosen_reward: score of the chosen answer.
        rejected_reward: score of the rejected answer.
        prefill: text with which the assistant's turn begins before either answer.
        max_length: most tokens that prompt + longer answer may take.
        chosen_completion_mask: characters [start, end) of the chosen answer that are compared, the rest is only read
            (step-wise preferences: one block of a longer answer); None: all of it. The end-of-turn token belongs to the
            answer's last character. Blocks that both answers share before the compared one are better put into
            `prefill`, where they are computed once.
        rejected_completion_mask: likewise of the rejected answer.

    Raises:
        DataError: an empty or identical answer, a pair longer than `max_length`, or compared characters that are not
            there; the message names the pair.
        ConfigError: compared characters with a slow tokenizer, which does not say where its tokens stand.
    """
    prompt_ids = encode_prompt(tokenizer, messages, prefill)
    end = end_of_turn_id(tokenizer)

    def completion(
        text: str, ended: bool, compared: tuple[int, int] | None
    ) -> tuple[tuple[int, ...], tuple[bool, ...] | None]:
        closing = (end,) if ended else ()
        if compared is None:
            return (*encoding.plain(tokenizer, text, start=False).ids, *closing), None
        first, last = compared
        if not 0 <= first < last <= len(text):
            raise DataError(f"pair {id!r}: characters {first} to {last} are to be compared in an answer of {len(text)}")
        if not tokenizer.is_fast:
            raise ConfigError(
                "comparing a part of an answer needs a fast tokenizer (a tokenizer.json in the model folder)"
            )
        encoded = encoding.text_tokenizer(tokenizer, text)(text, add_special_tokens=False, return_offsets_mapping=True)
        mask = [start < last and stop > first for start, stop in encoded["offset_mapping"]]
        return (*encoded["input_ids"], *closing), (*mask, *([last == len(text)] if ended else []))

    for name, text in (("chosen", chosen), ("rejected", rejected)):
        if not text.strip():
            raise DataError(f"pair {id!r}: the {name} answer is empty; leave the pair out")
    chosen_ids, chosen_mask = completion(chosen, chosen_ended, chosen_completion_mask)
    rejected_ids, rejected_mask = completion(rejected, rejected_ended, rejected_completion_mask)
    example = PreferenceExample(
        id=id,
        prompt_ids=prompt_ids,
        chosen_ids=chosen_ids,
        rejected_ids=rejected_ids,
        chosen_reward=chosen_reward,
        rejected_reward=rejected_reward,
        chosen_mask=chosen_mask,
        rejected_mask=rejected_mask,
    )
    longest = len(prompt_ids) + max(len(example.chosen_ids), len(example.rejected_ids))
    if max_length is not None and longest > max_length:
        raise DataError(
            f"pair {id!r}: prompt ({len(prompt_ids)} tokens) and longer answer take {longest} tokens, more than "
            f"{max_length}; "
            "cut the prompt's context or raise the limit"
        )
    return example
