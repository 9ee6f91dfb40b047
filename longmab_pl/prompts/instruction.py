"""The prompt format of writing instructions: the instruction itself."""

from __future__ import annotations

from dataclasses import dataclass

from longmab_pl.prompts.formats import ChatPrompt, Message


@dataclass(frozen=True)
class Instruction(ChatPrompt):
    """The user's message is the instruction (or question) alone, after the context if there is one.

    Args:
        template_arguments: further variables of the chat template, such as `{enable_thinking: false}`; `today` is the
            date (YYYY-MM-DD) that a template prints.

    Example:
        >>> Instruction().messages("", "Write a story of 500 words.")
        [{'role': 'user', 'content': 'Write a story of 500 words.'}]
    """

    def messages(self, context: str, question: str) -> list[Message]:
        return [{"role": "user", "content": f"{context}\n\n{question}" if context else question}]
