"""What a chat template writes around an assistant's turn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from longmab_pl.errors import ConfigError
from longmab_pl.prompts import encoding
from longmab_pl.prompts.encoding import Arguments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Letters only, so that no template trims it and no tokenizer treats it as special.
_MARKER = "xANSWERx"


@dataclass(frozen=True)
class TemplateFacts:
    """What a chat template writes around an assistant's turn.

    Args:
        begin: the first control token of a conversation (without a beginning of sequence), or the first word.
        header: the text between the last user's words and the assistant's.
        end: the text of the token that closes an assistant's turn.
        end_id: its id; None where there is none.
        writes_start: the template itself writes the beginning-of-sequence token.
        ignores_generation: it writes the same with and without `add_generation_prompt`.
    """

    begin: str
    header: str
    end: str
    end_id: int | None
    writes_start: bool
    ignores_generation: bool


_facts: WeakKeyDictionary[PreTrainedTokenizerBase, dict[str, TemplateFacts]] = WeakKeyDictionary()


def template_facts(tokenizer: PreTrainedTokenizerBase, arguments: Arguments | None = None) -> TemplateFacts:
    """Return what the tokenizer's chat template writes around an assistant's turn; it is cached."""
    key = json.dumps([tokenizer.chat_template, dict(arguments or {})], sort_keys=True, default=str)
    known = _facts.setdefault(tokenizer, {})
    if key not in known:
        known[key] = _look_up(tokenizer, arguments)
    return known[key]


def _look_up(tokenizer: PreTrainedTokenizerBase, arguments: Arguments | None) -> TemplateFacts:
    eos = None if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
    nothing = TemplateFacts("", "", str(tokenizer.eos_token or ""), eos, writes_start=False, ignores_generation=False)
    if not tokenizer.chat_template:
        return nothing
    question = {"role": "user", "content": _MARKER}
    try:
        asked = encoding.rendered(tokenizer, [question], arguments)
        unasked = encoding.rendered(tokenizer, [question], arguments, generation=False)
        answered = encoding.rendered(
            tokenizer,
            [{**question, "content": "?"}, {"role": "assistant", "content": _MARKER}],
            arguments,
            generation=False,
        )
    except encoding.TemplateError:
        return nothing
    begin, _, header = asked.partition(_MARKER)
    bos = str(tokenizer.bos_token or "")
    known = encoding.control_tokens_of(tokenizer)
    first = begin.removeprefix(bos).lstrip() or begin
    token = None if known is None else known.at_start_of(first)
    end, end_id = nothing.end, eos
    after = tokenizer.encode(answered.rpartition(_MARKER)[2], add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for number in after:
        if number in special:
            end_id, end = number, str(tokenizer.convert_ids_to_tokens(number))
            break
    return TemplateFacts(
        begin=token or (first.split() or [""])[0],
        header=header,
        end=end,
        end_id=end_id,
        writes_start=bool(bos) and begin.startswith(bos),
        ignores_generation=asked == unasked,
    )


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase, arguments: Arguments | None = None) -> int:
    """Return the id of the token with which this chat template closes an assistant's turn.

    Often, but not always, it is the end-of-sequence token.

    Raises:
        ConfigError: the template writes no such token and the tokenizer has no end-of-sequence token.
    """
    end = template_facts(tokenizer, arguments).end_id
    if end is None:
        raise ConfigError(
            "the chat template closes no assistant turn and the tokenizer has no end-of-sequence token; set one"
        )
    return end
