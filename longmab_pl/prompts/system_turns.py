"""System turns for chat templates that have none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from longmab_pl.prompts import encoding
from longmab_pl.prompts.transcript import Turn, user

_accepts: WeakKeyDictionary[Any, dict[str, bool]] = WeakKeyDictionary()


def with_system(tokenizer: Any, turns: Sequence[Turn], arguments: Mapping[str, Any]) -> list[Turn]:
    """Return a conversation that the chat template takes: where it refuses a system turn (Gemma), the user's first turn
    begins with its text.

    Args:
        tokenizer: the policy's tokenizer.
        turns: a conversation, with or without a system turn first.
        arguments: further variables of the chat template.
    """
    if turns[0].role != "system" or _takes_system(tokenizer, arguments):
        return list(turns)
    return [user(f"{turns[0].text}\n\n{turns[1].text}"), *turns[2:]]


def _takes_system(tokenizer: Any, arguments: Mapping[str, Any]) -> bool:
    key = json.dumps([tokenizer.chat_template, dict(arguments)], sort_keys=True, default=str)
    known = _accepts.setdefault(tokenizer, {})
    if key not in known:
        try:
            text = encoding.rendered(
                tokenizer, [{"role": "system", "content": "xSYSTEMx"}, {"role": "user", "content": "?"}], arguments
            )
        except encoding.TemplateError:
            text = ""
        known[key] = "xSYSTEMx" in text
    return known[key]
