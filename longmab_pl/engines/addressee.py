"""What a prompt for one of a run's engines must fit: chat template, length limit, structured output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from longmab_pl.prompts import encoding


@dataclass(frozen=True)
class ChatFormat:
    """A model's tokenizer, with its chat template and the variables of it.

    Args:
        tokenizer: the tokenizer.
        template_arguments: further variables of the chat template, such as `enable_thinking: false`.
    """

    tokenizer: Any
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    def prompt_ids(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
        """Return the token ids of a conversation up to the start of the assistant's next turn.

        Args:
            messages: each has `role` and `content`; control tokens in the contents are ordinary text.
        """
        return encoding.chat(self.tokenizer, messages, arguments=self.template_arguments).ids


@dataclass(frozen=True)
class Addressee:
    """An engine as its requests see it.

    Args:
        chat: chat format of its model.
        max_model_len: longest prompt plus response, in tokens.
        structured_output: whether responses follow `Request.schema`.

    Example:
        >>> judge = context.addressee("judge")
        >>> ids = judge.chat.prompt_ids([{"role": "user", "content": "Is Lima in Peru?"}])
        >>> judge.fits(ids, max_tokens=512)
        True
    """

    chat: ChatFormat
    max_model_len: int
    structured_output: bool = False

    def fits(self, prompt_ids: Sequence[int], max_tokens: int) -> bool:
        """Return whether a prompt and the longest response to it fit the engine."""
        return len(prompt_ids) + max_tokens <= self.max_model_len
