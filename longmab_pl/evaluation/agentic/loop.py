"""Agentic inference: clarify, point back, answer the own question, answer, check; one prefill of the document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import middle_truncated
from longmab_pl.errors import PromptTooLong
from longmab_pl.evaluation.agentic.styles import asked
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.task import Prompt, SeveralTurns, Turn
from longmab_pl.prompts import clarification as say
from longmab_pl.prompts import encoding, transcript
from longmab_pl.prompts.system_turns import with_system
from longmab_pl.shown import quoted
from longmab_pl.strategies.clarification_tree.paragraphs import PARAGRAPH_TOKENS, cut_paragraphs, mark_paragraphs

_NUMBER = re.compile(r"para(?:graph)?s?\W{0,3}(\d{1,9})", re.IGNORECASE)

_FINAL, _TURNS = 3, 5
"""Place of the answer among the responses, and their number."""


@dataclass(frozen=True)
class AgenticTask(PromptedTask, SeveralTurns):
    """Questions that are answered in five turns over one document with marked paragraphs.

    The turns are those of the conversations that `pairs.ClarificationPairs` trains with `first_answer: false`: ask one
    clarifying question, point back to paragraphs, answer the own question, answer the original one, check the answer.
    The fourth is the prediction; the others are kept beside it. Every turn continues the same conversation, so an
    engine with a prefix cache reads the document once.

    A document that is too long loses its middle, before its paragraphs are numbered.

    Args:
        paragraph_tokens: length of a paragraph in tokens.

    Source: AgenticLU (arXiv 2502.15920), section 3.4.
    """

    paragraph_tokens: int = PARAGRAPH_TOKENS

    answer_place = _FINAL

    def settings(self) -> dict[str, Any]:
        words = [say.SYSTEM, say.clarify(""), say.POINT_BACK, say.ANSWER_FROM_PARAGRAPHS, say.final_request("")]
        return {**super().settings(), "paragraph_tokens": self.paragraph_tokens, "turns": [*words, say.CHECK]}

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        assert isinstance(record, BenchmarkItem)
        document, cut = self._document(record, tokenizer, max_model_len)
        return Prompt(self._ids(record, document, [], tokenizer), cut)

    def next_turn(self, record: QARecord, said: Sequence[str], tokenizer: Any, max_model_len: int) -> Turn | None:
        if len(said) == _TURNS:
            return None
        assert isinstance(record, BenchmarkItem)
        document, cut = self._document(record, tokenizer, max_model_len)
        return Turn(Prompt(self._ids(record, document, said, tokenizer), cut), self.sampling)

    def _ids(self, item: BenchmarkItem, document: str, said: Sequence[str], tokenizer: Any) -> tuple[int, ...]:
        paragraphs = cut_paragraphs(document, tokenizer, self.paragraph_tokens)
        marked = mark_paragraphs([paragraph.text for paragraph in paragraphs])
        turns = [transcript.system(say.SYSTEM), transcript.user(say.ask_and_clarify(marked, asked(item)))]
        for reply, request in zip(said, self._requests(item, said, len(paragraphs)), strict=False):
            turns += [transcript.assistant(reply if reply.strip() else "..."), transcript.user(request)]
        arguments = self.asking.template_arguments
        return transcript.transcript(tokenizer, with_system(tokenizer, turns, arguments), arguments).ids

    def _requests(self, item: BenchmarkItem, said: Sequence[str], paragraphs: int) -> list[str]:
        """Return the user's turns after the first."""
        note = unknown_note(said[1], paragraphs) if len(said) > 1 else ""
        final = say.final_request(asked(item))
        return [say.POINT_BACK, note + say.ANSWER_FROM_PARAGRAPHS, final, say.CHECK]

    def _document(self, item: BenchmarkItem, tokenizer: Any, max_model_len: int) -> tuple[str, bool]:
        """Return the document, cut so that all turns fit, and whether it was cut."""
        told = self._ids(item, "", ["x"] * (_TURNS - 1), tokenizer)
        room = max_model_len - _TURNS * self.sampling.max_tokens - len(told)
        reader = encoding.text_tokenizer(tokenizer, item.context)
        # Each paragraph's marks take a few tokens, which depend on the tokenizer.
        mark = len(tokenizer.encode(mark_paragraphs([""], [10**3]), add_special_tokens=False))
        budget = room * self.paragraph_tokens // (self.paragraph_tokens + mark)
        if self.prompt_tokens is not None:
            budget = min(budget, self.prompt_tokens)
        if budget < 2:
            raise PromptTooLong(
                f"record {quoted(item.id)} of task {self.name!r}: five turns of {self.sampling.max_tokens} tokens and "
                f"the question leave no room for the document: the model takes {max_model_len} tokens; lower "
                "max_tokens or raise the engine's max_model_len"
            )
        return middle_truncated(item.context, reader, budget)


def pointed_paragraphs(reply: str) -> list[int]:
    """Return the numbers of the paragraphs that a reply points to, each once, in its order.

    Example:
        >>> pointed_paragraphs("These help: <para 3> <para 12>, and paragraph 3.")
        [3, 12]
    """
    return list(dict.fromkeys(int(found[1]) for found in _NUMBER.finditer(reply)))


def unknown_note(reply: str, paragraphs: int) -> str:
    """Return a sentence on the paragraphs that a reply points to and the document does not have; "" if there are none.

    Example:
        >>> unknown_note("<para 0> <para 9>", paragraphs=4)
        'The document has no paragraph 9; its paragraphs are 0 to 3. '
    """
    unknown = [number for number in pointed_paragraphs(reply) if number >= paragraphs]
    if not unknown:
        return ""
    numbers = ", ".join(map(str, unknown[:5]))
    return f"The document has no paragraph {numbers}; its paragraphs are 0 to {paragraphs - 1}. "
