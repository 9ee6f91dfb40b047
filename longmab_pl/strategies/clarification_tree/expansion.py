"""The growth of one record's clarification tree: the root, and the expansion of a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Completion, Request, RequestStream, Sampling
from longmab_pl.errors import DataError
from longmab_pl.prompts.system_turns import with_system
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.prompts.transcript import Turn, assistant, transcript
from longmab_pl.rewards.answer_match import normalize_answer
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import Response, StrategyContext
from longmab_pl.strategies.clarification_tree import conversation
from longmab_pl.strategies.clarification_tree.nodes import Node, rounds_to
from longmab_pl.strategies.clarification_tree.paragraphs import (
    SEPARATOR_TOKENS,
    Label,
    join_paragraphs,
    within_budget,
)
from longmab_pl.strategies.clarification_tree.relevance import Relevance

_NOTHING = assistant(".")
"""An answer in place of one that is still to be sampled."""


@dataclass
class _Step:
    """A child that is being made."""

    child: Node
    kept: list[int] = field(default_factory=list)
    answer: Turn = _NOTHING

    @property
    def clarification(self) -> Turn:
        return self.child.turns[0]


@dataclass
class Growing:
    """One record's tree while it grows.

    Args:
        record: the record.
        context: tokenizer, seed, rewards and limits.
        relevance: the document's paragraphs, and verdicts on them.
        branching: children of a node.
        max_read_tokens: tokens of paragraphs in a request at most.
        clarify: sampling of clarifying questions.
        answer: sampling of answers.

    Attributes:
        responses: the answers to the original question so far.
    """

    record: QARecord
    context: StrategyContext
    relevance: Relevance
    branching: int
    max_read_tokens: int
    clarify: Sampling
    answer: Sampling
    responses: list[Response] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.arguments = self.context.prompt_format.template_arguments
        self.paragraphs = self.relevance.paragraphs
        self.texts = [paragraph.text for paragraph in self.paragraphs]

    def root(self) -> RequestStream[Node]:
        """Return the root: the answer from the paragraphs that help with the original question."""
        question = self.record.question
        (labels,) = yield from self.relevance.labels([question], f"{self.record.id}/root/verdict")
        kept = self._readable(labels, conversation.base_answer_request("", question), answers=1)
        turns = conversation.base_answer_request(join_paragraphs(self.texts, kept), question)
        (completion,) = yield [self._request("root/answer", turns, self.answer, progress=1)]
        (answer,) = self._turns(completion, self.answer)
        node = Node(0, None, "root", _words(answer), (answer,), tuple(kept))
        (node,) = yield from self._scored([node], 0, "root")
        return node

    def expand(self, nodes: Sequence[Node], node: Node) -> RequestStream[list[Node]]:
        """Return the children of a node, whose ids are still to be set.

        Args:
            nodes: all nodes so far.
            node: the expanded one.
        """
        question, rounds = self.record.question, rounds_to(nodes, node.id)
        seen: list[Label] = ["yes" if i in node.kept else "no" for i in range(len(self.texts))]
        local = self._readable(seen, conversation.clarification_request(rounds, "", question), answers=0)
        prompt = conversation.clarification_request(rounds, join_paragraphs(self.texts, local), question)
        asked = self._request(f"{node.id}/clarify", prompt, self.clarify, n=self.branching, progress=0)
        (completion,) = yield [asked]
        children = self._distinct(self._turns(completion, self.clarify), nodes, node)
        steps = [_Step(child) for child in children if not child.excluded]
        key = f"{self.record.id}/{node.id}/verdict"
        labels = yield from self.relevance.labels([step.child.text for step in steps], key)
        for step, found in zip(steps, labels, strict=True):
            longest = conversation.final_request(rounds, question, step.clarification, "", _NOTHING)
            step.kept = self._readable(found, longest, answers=2)

        def answering(step: _Step) -> list[Turn]:
            read = join_paragraphs(self.texts, step.kept)
            return conversation.answer_request(rounds, question, step.clarification, read)

        def concluding(step: _Step) -> list[Turn]:
            read = join_paragraphs(self.texts, step.kept)
            return conversation.final_request(rounds, question, step.clarification, read, step.answer)

        answers = yield from self._answers(f"{node.id}/answer", steps, answering, progress=0)
        for step, answer in zip(steps, answers, strict=True):
            step.answer = answer
        answered = [step for step in steps if _words(step.answer)]
        finals = yield from self._answers(f"{node.id}/final", answered, concluding, progress=1)
        grown = {step.child.id: replace(step.child, excluded="its own answer is empty") for step in steps}
        for step, final in zip(answered, finals, strict=True):
            grown[step.child.id] = replace(
                step.child,
                turns=(step.clarification, step.answer, final),
                kept=tuple(step.kept),
                excluded="" if _words(final) else "its final answer is empty",
            )
        children = [grown.get(child.id, child) for child in children]
        return (yield from self._scored(children, len(rounds) + 1, str(node.id)))

    def _answers(
        self, key: str, steps: Sequence[_Step], turns: Callable[[_Step], list[Turn]], *, progress: int
    ) -> RequestStream[list[Turn]]:
        """Return a generator that asks for one answer for each step."""
        if not steps:
            return []
        requests = [
            self._request(f"{key}/{step.child.id}", turns(step), self.answer, progress=progress) for step in steps
        ]
        completions = yield requests
        return [self._turns(completion, self.answer)[0] for completion in completions]

    def _distinct(self, turns: Sequence[Turn], nodes: Sequence[Node], node: Node) -> list[Node]:
        """Return a child for each clarifying question, with ids from 0; one that is no new question has a reason."""
        told = {normalize_answer(self.record.question): "it repeats the original question"}
        for done in rounds_to(nodes, node.id):
            told[normalize_answer(_words(done.clarification))] = "it repeats an earlier question of its path"
        children = []
        for i, turn in enumerate(turns):
            text = _words(turn)
            name = normalize_answer(text)
            reason = told.get(name, "") if name else "it asks nothing"
            told.setdefault(name, "it repeats a question of another node with the same parent")
            children.append(Node(i, node.id, "round", text, (turn,), excluded=reason))
        return children

    def _scored(self, children: Sequence[Node], step: int, key: str) -> RequestStream[list[Node]]:
        """Return the nodes with their scores, and add a response for each one that is not excluded."""
        answered = [child for child in children if not child.excluded]
        if not answered:
            return list(children)
        finals = [child.turns[-1] for child in answered]
        name = f"{self.record.id}/{key}/score"
        scores = yield from self.context.score(self.record, [turn.text for turn in finals], name)
        scored = {}
        for child, turn, score in zip(answered, finals, scores, strict=True):
            response = len(self.responses)
            self.responses.append(Response(turn.text, turn.ended, step, child.kept, None, score, turn.token_ids))
            scored[child.id] = replace(child, response=response).scored(score[self.context.primary])
        return [scored.get(child.id, child) for child in children]

    def _readable(self, labels: Sequence[Label], turns: Sequence[Turn], *, answers: int) -> list[int]:
        """Return the kept paragraphs that fit the engine.

        Args:
            labels: verdict on each paragraph.
            turns: the longest request, without a paragraph.
            answers: number of answers that it leaves room for.
        """
        overhead = len(self._ids(turns))
        room = self.context.max_model_len - overhead - answers * self.answer.max_tokens - self.clarify.max_tokens
        budget = min(room, self.max_read_tokens + SEPARATOR_TOKENS)
        tokens = [paragraph.tokens for paragraph in self.paragraphs]
        if budget < min(tokens) + SEPARATOR_TOKENS:
            raise DataError(
                f"record {quoted(self.record.id)}: question and earlier rounds take {overhead} tokens, so that beside "
                f"the answers no paragraph fits the engine's {self.context.max_model_len}; raise engine.max_model_len "
                "or lower strategy.answer.max_tokens"
            )
        return within_budget(labels, tokens, budget)

    def _ids(self, turns: Sequence[Turn]) -> tuple[int, ...]:
        tokenizer = self.context.tokenizer
        return transcript(tokenizer, with_system(tokenizer, turns, self.arguments), self.arguments).ids

    def _request(self, name: str, turns: Sequence[Turn], sampling: Sampling, *, progress: int, n: int = 1) -> Request:
        return Request(
            id=f"{self.record.id}/{name}",
            prompt_ids=self._ids(turns),
            sampling=sampling,
            n=n,
            seed=derive_seed(self.context.seed, self.record.id, name),
            progress=progress,
        )

    def _turns(self, completion: Completion, sampling: Sampling) -> list[Turn]:
        """Return the assistant's turns of a completion. With stop strings the ids may hold more than the text."""
        ids: Sequence[Any] = () if sampling.stop else completion.token_ids
        return [
            assistant(text, own, reason == "stop")
            for text, reason, own in zip(
                completion.texts, completion.finish_reasons, ids or ((),) * len(completion.texts), strict=True
            )
        ]


def _words(turn: Turn) -> str:
    """Return what a turn says, without its thought and surrounding white space."""
    return without_thought(turn.text).strip()
