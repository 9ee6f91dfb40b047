"""The prompt format of writing instructions: the instruction itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from longmab_pl.prompts import encoding
from longmab_pl.prompts.formats import Message


@dataclass(frozen=True)
class Instruction:
    """The user's message is the instruction (or question) alone, after the context if there is one.

    Args:
        template_arguments: further variables of the chat template, such as `{enable_thinking: false}`; `today` is the
            date (YYYY-MM-DD) that a template prints.

    Example:
        >>> Instruction().messages("", "Write a story of 500 words.")
        [{'role': 'user', 'content': 'Write a story of 500 words.'}]
    """

    template_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def messages(self, context: str, question: str) -> list[Message]:
        return [{"role": "user", "content": f"{context}\n\n{question}" if context else question}]

    def prompt_ids(self, tokenizer: Any, context: str, question: str) -> tuple[int, ...]:
        return encoding.chat(tokenizer, self.messages(context, question), arguments=self.template_arguments).ids

    def response(self, text: str) -> str:
        return text

    def response_ids(self, tokenizer: Any, ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(ids)

    def prompt_overhead(self, tokenizer: Any, question: str) -> int:
        return len(self.prompt_ids(tokenizer, "", question))
