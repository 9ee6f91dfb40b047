"""Verdicts on which paragraphs help with which questions: asked once each, several questions in a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from longmab_pl.engines.protocol import Request, RequestStream, Sampling
from longmab_pl.prompts.system_turns import with_system
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.prompts.transcript import transcript
from longmab_pl.rewards.answer_match import normalize_answer
from longmab_pl.seeding import derive_seed
from longmab_pl.strategies.clarification_tree.conversation import relevance_request
from longmab_pl.strategies.clarification_tree.paragraphs import (
    Label,
    Paragraph,
    labels_schema,
    structured_labels,
    verdict_labels,
)


@dataclass
class Relevance:
    """The verdicts of one record.

    The paragraph comes first in every prompt, so that an engine's prefix cache holds it for all questions. A verdict is
    kept by paragraph and question, so that nothing is asked twice.

    Args:
        tokenizer: the policy's tokenizer.
        arguments: further variables of the chat template.
        paragraphs: the document.
        sampling: how verdicts are sampled.
        questions_per_request: most questions in one request.
        seed: seed of the record.
        structured: whether the engine keeps replies to a JSON schema.

    Attributes:
        requests: number of requests sent.
        unreadable: number of verdicts without a label; their paragraphs are kept.
        reused: number of verdicts that were known already.
    """

    tokenizer: Any
    arguments: Mapping[str, Any]
    paragraphs: Sequence[Paragraph]
    sampling: Sampling
    questions_per_request: int
    seed: int
    structured: bool = False
    requests: int = 0
    unreadable: int = 0
    reused: int = 0
    _asked: set[str] = field(default_factory=set)
    _known: dict[tuple[int, str], Label] = field(default_factory=dict)

    def labels(self, questions: Sequence[str], key: str) -> RequestStream[list[list[Label]]]:
        """Return a generator that returns the label of each paragraph, for each question.

        The only paragraph of a document is kept without a request.

        Args:
            questions: the questions.
            key: unique key of this call; request ids begin with it.
        """
        if len(self.paragraphs) == 1:
            return [["yes"] for _ in questions]
        names = [_name(question) for question in questions]
        new = {name: question for name, question in zip(names, questions, strict=True) if name not in self._asked}
        self._asked.update(new)
        self.reused += (len(questions) - len(new)) * len(self.paragraphs)
        groups = _groups(list(new.items()), self.questions_per_request)
        asked = [(paragraph, number, group) for number, group in enumerate(groups) for paragraph in self.paragraphs]
        if asked or any((0, name) not in self._known for name in names):
            # Empty where another node asks the same in this step: its verdicts are there when the step is over.
            completions = yield [self._request(*one, key) for one in asked]
            for (paragraph, _, group), completion in zip(asked, completions, strict=True):
                reply = without_thought(completion.texts[0])
                parse = structured_labels if self.structured and len(group) > 1 else verdict_labels
                labels = parse(reply, len(group))
                self.unreadable += labels.count("unreadable")
                for (name, _), label in zip(group, labels, strict=True):
                    self._known[paragraph.number, name] = label
            self.requests += len(asked)
        return [[self._known[paragraph.number, name] for paragraph in self.paragraphs] for name in names]

    def _request(self, paragraph: Paragraph, group: int, questions: Sequence[tuple[str, str]], key: str) -> Request:
        name = f"{key}/{group}/{paragraph.number}"
        turns = relevance_request(paragraph.text, [question for _, question in questions], self.structured)
        prompt = transcript(self.tokenizer, with_system(self.tokenizer, turns, self.arguments), self.arguments)
        schema = labels_schema(len(questions)) if self.structured and len(questions) > 1 else None
        return Request(name, prompt.ids, self.sampling, seed=derive_seed(self.seed, name), progress=0, schema=schema)


def _name(question: str) -> str:
    """Return what equal questions have in common."""
    return normalize_answer(question) or question


def _groups(questions: list[tuple[str, str]], size: int) -> list[list[tuple[str, str]]]:
    return [questions[i : i + size] for i in range(0, len(questions), size)]
