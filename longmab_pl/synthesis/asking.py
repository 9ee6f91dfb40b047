"""What the model is asked: to write questions about chunks, and to answer them with and without their chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from longmab_pl.engines.protocol import Completion, Request, RequestStream
from longmab_pl.prompts.formats import DirectAnswer, PromptFormat
from longmab_pl.prompts.question_writing import WITHOUT_TEXT, QuestionPrompt
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.lenient_match import contains_words, extract_lenient, normalize_lenient
from longmab_pl.seeding import derive_seed
from longmab_pl.synthesis.candidates import KNOWN, MALFORMED, UNANSWERED, Candidate
from longmab_pl.synthesis.documents import DocumentChunk
from longmab_pl.synthesis.settings import QuestionSettings


@dataclass(frozen=True)
class QuestionAsker:
    """The requests of question writing for one model.

    Args:
        settings: samples, thresholds and seed.
        tokenizer: the model's tokenizer, with a chat template.
        structured_output: whether the engine makes replies follow a JSON schema.
        template_arguments: further variables of the chat template, such as `{enable_thinking: false}`.
    """

    settings: QuestionSettings
    tokenizer: Any
    structured_output: bool = False
    template_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @cached_property
    def writing(self) -> QuestionPrompt:
        """Prompt for questions."""
        return QuestionPrompt(template_arguments=self.template_arguments)

    @cached_property
    def answering(self) -> PromptFormat:
        """Prompt format of answers from a chunk."""
        return DirectAnswer(template_arguments=self.template_arguments)

    @cached_property
    def without_text(self) -> PromptFormat:
        """Prompt format of answers without it."""
        return DirectAnswer(template=WITHOUT_TEXT, template_arguments=self.template_arguments)

    def write(self, chunk: DocumentChunk) -> RequestStream[list[Candidate]]:
        """Ask for questions about a chunk, and return all of them, unreadable replies too."""
        settings = self.settings
        request = Request(
            id=f"{chunk.key}/write",
            prompt_ids=self.writing.prompt_ids(self.tokenizer, chunk.text, as_json=self.structured_output),
            sampling=settings.writing,
            n=settings.samples,
            seed=derive_seed(settings.seed, chunk.key, "write"),
            schema=QuestionPrompt.SCHEMA if self.structured_output else None,
        )
        (completion,) = yield [request]
        return [self._candidate(chunk, number, text) for number, text in enumerate(completion.texts)]

    def _candidate(self, chunk: DocumentChunk, number: int, reply: str) -> Candidate:
        written = self.writing.read(reply)
        if written is None:
            return Candidate(chunk, number, "", "", MALFORMED)
        return Candidate(chunk, number, written.question, written.answer)

    def check(self, candidate: Candidate) -> RequestStream[Candidate]:
        """Answer a question without its chunk, and if that fails from its chunk; return it with what came out."""
        settings = self.settings
        (completion,) = yield [self._answers(candidate, "known", self.without_text, "")]
        known = self._share(candidate, completion, self.without_text)
        candidate = replace(candidate, known=known)
        if known >= settings.known:
            return replace(candidate, left_out=KNOWN)
        (completion,) = yield [self._answers(candidate, "answer", self.answering, candidate.chunk.text)]
        agreement = self._share(candidate, completion, self.answering)
        candidate = replace(candidate, agreement=agreement)
        return candidate if agreement >= settings.agreement else replace(candidate, left_out=UNANSWERED)

    def _answers(self, candidate: Candidate, name: str, prompt: PromptFormat, context: str) -> Request:
        return Request(
            id=f"{candidate.id}/{name}",
            prompt_ids=prompt.prompt_ids(self.tokenizer, context, candidate.question),
            sampling=self.settings.answering,
            n=self.settings.answers,
            seed=derive_seed(self.settings.seed, candidate.id, name),
        )

    @staticmethod
    def _share(candidate: Candidate, completion: Completion, prompt: PromptFormat) -> float:
        """Return the share of responses that hold the candidate's answer, in [0, 1]."""
        agreeing = [holds_answer(prompt.response(text), candidate.answer) for text in completion.texts]
        return sum(agreeing) / len(agreeing)


def holds_answer(response: str, answer: str) -> bool:
    """Return whether a response holds the words of an answer next to each other.

    Args:
        response: the whole response; where it states an answer, only that is read.
        answer: the answer.

    Example:
        >>> holds_answer("Answer: It was Ana Reis, an engineer.", "Ana Reis"), holds_answer("Answer: Ana", "Ana Reis")
        (True, False)
    """
    said = extract_lenient(response)
    text = without_thought(response) if said is None else said
    return contains_words(normalize_lenient(text), normalize_lenient(answer))
