"""Prompt formats: how a context and a question become a prompt, and which part of the output is the response.

The prompt of a rollout (a few chunks) and the prompt of its pair (the whole context, cut in the middle) use the same
format with different contexts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from longmab_pl.data.records import QARecord
from longmab_pl.prompts import encoding
from longmab_pl.prompts.reasoning import INSTRUCTIONS, reasoning_prompt

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
    """Format of prompts and responses. Implementations are frozen dataclasses: `ReasonThenAnswer`, `PlanAndSolve`,
    `DirectAnswer`, `CiteThenAnswer`; `ChatPrompt` has all but their messages."""

    @property
    def template_arguments(self) -> Mapping[str, Any]:
        """Further variables of the chat template, such as `enable_thinking: false`, for all prompts."""

    def messages(self, context: str, question: str) -> list[Message]:
        """Return the conversation up to the assistant's turn."""

    def prompt_ids(self, tokenizer: Any, context: str, question: str) -> tuple[int, ...]:
        """Return the prompt's token ids, with the chat template and any prefill of the assistant's turn."""

    def response(self, text: str) -> str:
        """Return the assistant's whole turn, given the generated text."""

    def response_ids(self, tokenizer: Any, ids: Sequence[int]) -> tuple[int, ...]:
        """Return the token ids of the assistant's whole turn, after the chat template's header."""

    def prompt_overhead(self, tokenizer: Any, question: str) -> int:
        """Return the number of prompt tokens without the context."""


@runtime_checkable
class NumberingFormat(Protocol):
    """A prompt format whose prompts number the passages of the context, so that answers can name them."""

    def numbered(self, record: QARecord) -> QARecord:
        """Return a record with numbers in its context; one that has them is returned unchanged.

        Runs and evaluations number every record once, before its context is cut or divided, so that a passage has the
        same number in all prompts.
        """


def numbered_for(prompt_format: PromptFormat, records: Iterable[QARecord]) -> list[QARecord]:
    """Return records as a prompt format asks them: with numbered passages, or unchanged."""
    if isinstance(prompt_format, NumberingFormat):
        return [prompt_format.numbered(record) for record in records]
    return list(records)


def fill(template: str, context: str, question: str) -> str:
    # One pass over the template: braces and field names inside a document are not substituted.
    return template.format(context=context, question=question)


@dataclass(frozen=True)
class ChatPrompt:
    """What prompt formats have in common: the chat template around `messages`, and all that is generated as response.

    Args:
        template_arguments: further variables of the chat template, such as `{enable_thinking: false}`; `today` is the
            date (YYYY-MM-DD) that a template prints.
    """

    template_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False, kw_only=True)

    def messages(self, context: str, question: str) -> list[Message]:
        raise NotImplementedError

    def prompt_ids(self, tokenizer: Any, context: str, question: str) -> tuple[int, ...]:
        return encoding.chat(tokenizer, self.messages(context, question), arguments=self.template_arguments).ids

    def response(self, text: str) -> str:
        return text

    def response_ids(self, tokenizer: Any, ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(ids)

    def prompt_overhead(self, tokenizer: Any, question: str) -> int:
        return len(self.prompt_ids(tokenizer, "", question))


@dataclass(frozen=True)
class ReasonThenAnswer(ChatPrompt):
    """The paper's protocol (LongMab-PO, section 3.2): reason about the document, then a line "Answer: ...".

    Args:
        template: prompt with `{context}` and `{question}`; the document comes first, so that its prefix is cached for
            several questions.
        template_arguments: further variables of the chat template, such as `{enable_thinking: false}`; `today` is the
            date (YYYY-MM-DD) that a template prints.
    """

    template: str = _REASON

    def messages(self, context: str, question: str) -> list[Message]:
        return [{"role": "user", "content": fill(self.template, context, question)}]


@dataclass(frozen=True)
class PlanAndSolve(ChatPrompt):
    """SeaLong's prompt: the passages, the question, and the instruction to make a plan and follow it.

    Args:
        instruction: text after the question. Other ways to reason are in `longmab_pl.prompts.reasoning.INSTRUCTIONS`.
        ending: text after the instruction, which makes the final answer readable; empty, as in the original program,
            leaves its place to the model, and SubEM of the whole response is then the metric to use.
        template_arguments: as for `ReasonThenAnswer`.

    Example:
        >>> PlanAndSolve(ending="").messages("Passage 1:\\nLyon is in France.", "Where is Lyon?")[0]["content"][:32]
        '\\nPassage 1:\\nLyon is in France.\\n\\n'

    Source: SeaLong (arXiv:2411.08147), section 2, and `synthesize.py`.
    """

    instruction: str = INSTRUCTIONS["plan_and_solve"]
    ending: str = 'End with one line of the form "Answer: <your answer, as short as possible>".'

    def messages(self, context: str, question: str) -> list[Message]:
        text = reasoning_prompt(context, question, f"{self.instruction} {self.ending}".strip())
        return [{"role": "user", "content": text}]


@dataclass(frozen=True)
class PrefilledPrompt(ChatPrompt):
    """A template around context and question, and a beginning of the assistant's turn, which the model continues.

    The response that is kept for training includes the beginning.

    Args:
        template: prompt with `{context}` and `{question}`.
        prefill: beginning of the assistant's turn.
        template_arguments: as for `ReasonThenAnswer`.
    """

    template: str
    prefill: str

    def messages(self, context: str, question: str) -> list[Message]:
        return [{"role": "user", "content": fill(self.template, context, question)}]

    def prompt_ids(self, tokenizer: Any, context: str, question: str) -> tuple[int, ...]:
        return encoding.chat(
            tokenizer, self.messages(context, question), prefill=self.prefill, arguments=self.template_arguments
        ).ids

    def response(self, text: str) -> str:
        return self.prefill + text

    def response_ids(self, tokenizer: Any, ids: Sequence[int]) -> tuple[int, ...]:
        header = encoding.chat(tokenizer, self.messages("", ""), arguments=self.template_arguments).ids
        return (*self.prompt_ids(tokenizer, "", "")[len(header) :], *ids)


@dataclass(frozen=True)
class DirectAnswer(PrefilledPrompt):
    """Short answers without reasoning: the assistant's turn is prefilled with `prefill` and the model continues it.

    For models too small to reason in a fixed format. The response kept for training includes the prefill.

    Args:
        template: prompt with `{context}` and `{question}`.
        prefill: beginning of the assistant's turn.
        template_arguments: as for `ReasonThenAnswer`.
    """

    template: str = _DIRECT
    prefill: str = "Answer:"
