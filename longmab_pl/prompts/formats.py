"""Prompt formats: how a context and a question become a prompt, and what of the model's output is the response.

The prompt a response is sampled from (a few chunks) and the prompt its pair is trained on (the whole context, cut in
the middle) come from the same protocol with a different context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from longmab_pl.prompts import encoding

Message = dict[str, str]

_REASON = """Read the document and answer the question that follows it.

Document:
{context}

Question: {question}

First think it through step by step: say which statements of the document matter and what follows from them. Then end \
with one line of the form
Answer: <your answer, as short as possible, nothing else>"""

_DIRECT = """Read the text and answer the question in a few words.

Text:
{context}

Question: {question}"""


@runtime_checkable
class PromptFormat(Protocol):
    """How a record is read. Implementations are frozen dataclasses, so that they can be written down and compared."""

    def messages(self, context: str, question: str) -> list[Message]:
        """The conversation up to the assistant's turn."""

    def prompt_ids(self, tokenizer: Any, context: str, question: str) -> tuple[int, ...]:
        """Token ids to continue from, chat template and any prefill of the assistant's turn included."""

    def response(self, text: str) -> str:
        """The assistant's whole turn, given what the model generated."""

    def prompt_overhead(self, tokenizer: Any, question: str) -> int:
        """Tokens of the prompt beside the context."""


def fill(template: str, context: str, question: str) -> str:
    # One pass over the template: braces or field names inside a document are never substituted again.
    return template.format(context=context, question=question)


@dataclass(frozen=True)
class ReasonThenAnswer:
    """The paper's protocol (LongMab-PO, section 3.2): reason about the document, then a line "Answer: ...".

    Args:
        template: prompt with `{context}` and `{question}`; the document comes first so that its prefix is cached
            between questions.
    """

    template: str = _REASON

    def messages(self, context: str, question: str) -> list[Message]:
        return [{"role": "user", "content": fill(self.template, context, question)}]

    def prompt_ids(self, tokenizer: Any, context: str, question: str) -> tuple[int, ...]:
        return encoding.chat(tokenizer, self.messages(context, question)).ids

    def response(self, text: str) -> str:
        return text

    def prompt_overhead(self, tokenizer: Any, question: str) -> int:
        return len(self.prompt_ids(tokenizer, "", question))


@dataclass(frozen=True)
class DirectAnswer:
    """Short answers without reasoning: the assistant's turn is prefilled with `prefill` and the model continues it.

    For models too small to reason in a fixed format. The response kept for training includes the prefill.
    """

    template: str = _DIRECT
    prefill: str = "Answer:"

    def messages(self, context: str, question: str) -> list[Message]:
        return [{"role": "user", "content": fill(self.template, context, question)}]

    def prompt_ids(self, tokenizer: Any, context: str, question: str) -> tuple[int, ...]:
        return encoding.chat(tokenizer, self.messages(context, question), prefill=self.prefill).ids

    def response(self, text: str) -> str:
        return self.prefill + text

    def prompt_overhead(self, tokenizer: Any, question: str) -> int:
        return len(self.prompt_ids(tokenizer, "", question))
