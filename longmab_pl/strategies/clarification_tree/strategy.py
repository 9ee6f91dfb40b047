"""AgenticLU's search: a breadth-first tree of clarification rounds for each record.

Paper: arXiv 2502.15920, section 3.2. Root: the answer from the paragraphs that help with the question. A node is
expanded by asking several clarifying questions, pointing back to the paragraphs that help with each, answering it from
them, and answering the original question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import POLICY, RequestStream, Sampling
from longmab_pl.errors import DataError
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import RecordRollout, Strategy, StrategyContext
from longmab_pl.strategies.clarification_tree.expansion import Growing
from longmab_pl.strategies.clarification_tree.nodes import Node, with_paths
from longmab_pl.strategies.clarification_tree.paragraphs import PARAGRAPH_TOKENS, cut_paragraphs
from longmab_pl.strategies.clarification_tree.relevance import Relevance
from longmab_pl.strategies.clarification_tree.tree import best_and_worst_nodes
from longmab_pl.strategies.together import together

_LABEL_TOKENS = 10
"""Tokens at most of a question's label in a joint verdict."""

_TEMPLATE_TOKENS = 400
"""Tokens at most of the fixed words and the chat template in a prompt of one round."""


@dataclass(frozen=True)
class ClarificationTree(Strategy):
    """The search of AgenticLU. The defaults are the paper's; `pairs.ClarificationPairs` makes its pairs.

    The nodes of the best and of the worst path are marked by the primary reward (`rewards.GoldAgreement` is the
    paper's). A clarifying question that is empty, or that repeats the original one, an earlier one of its path or one
    of its siblings, is excluded with its reason and not expanded; so is a node with an empty answer.

    Args:
        branching: clarifying questions for each expanded node.
        rounds: clarification rounds on a path (the paper's depth of 2 or 3).
        paragraph_tokens: length of a paragraph in tokens.
        max_read_tokens: tokens of the kept paragraphs that a step reads at most; paragraphs that the model was less
            sure of are left out first.
        questions_per_request: most questions in one request for verdicts on a paragraph; 1: each has its own, with a
            short reason, as in the paper.
        clarify: sampling of clarifying questions.
        verdict: sampling of verdicts on paragraphs.
        answer: sampling of answers.

    Example:
        >>> ClarificationTree(branching=8, rounds=2).expected_responses
        73

    Source: AgenticLU (arXiv 2502.15920), section 3.2.
    """

    branching: int = 8
    rounds: int = 2
    paragraph_tokens: int = PARAGRAPH_TOKENS
    max_read_tokens: int = 8192
    questions_per_request: int = 8
    clarify: Sampling = field(default_factory=lambda: Sampling(1.0, 0.95, 0.0, 512))
    verdict: Sampling = field(default_factory=lambda: Sampling(0.2, 0.95, 0.0, 128))
    answer: Sampling = field(default_factory=lambda: Sampling(0.2, 0.95, 0.0, 1024))

    def __post_init__(self) -> None:
        at_least("strategy.branching", self.branching, 2, "a comparison needs two children at least")
        at_least("strategy.rounds", self.rounds, 1)
        at_least("strategy.paragraph_tokens", self.paragraph_tokens, 8)
        at_least(
            "strategy.max_read_tokens",
            self.max_read_tokens,
            self.paragraph_tokens,
            f"a step reads one paragraph at least (strategy.paragraph_tokens is {self.paragraph_tokens})",
        )
        at_least("strategy.questions_per_request", self.questions_per_request, 1)
        if self.questions_per_request > 1:
            needed = _LABEL_TOKENS * self.questions_per_request
            at_least("strategy.verdict.max_tokens", self.verdict.max_tokens, needed, "it is one label a question")

    @property
    def expected_responses(self) -> int:
        return sum(self.branching**depth for depth in range(self.rounds + 1))

    @property
    def progress_unit(self) -> str:
        return "nodes"

    @property
    def scored_together(self) -> int:
        return 1

    @property
    def needed_model_len(self) -> int:
        """The longest request with one paragraph: the final answer of the last round."""
        said = self.clarify.max_tokens + 2 * self.answer.max_tokens
        return self.paragraph_tokens + self.rounds * (said + _TEMPLATE_TOKENS)

    @property
    def max_response_tokens(self) -> int:
        """A whole conversation without its document, which is what a pair compares."""
        return self.rounds * (self.clarify.max_tokens + 2 * self.answer.max_tokens + _TEMPLATE_TOKENS)

    def roll(self, record: QARecord, context: StrategyContext) -> RequestStream[RecordRollout]:
        if not record.context.strip():
            raise DataError(f"record {quoted(record.id)}: the context has no text; leave the record out")
        paragraphs = cut_paragraphs(record.context, context.tokenizer, self.paragraph_tokens)
        arguments, seed = context.prompt_format.template_arguments, derive_seed(context.seed, record.id)
        policy = context.addressees.get(POLICY)
        structured = policy is not None and policy.structured_output
        relevance = Relevance(
            context.tokenizer, arguments, paragraphs, self.verdict, self.questions_per_request, seed, structured
        )
        growing = Growing(record, context, relevance, self.branching, self.max_read_tokens, self.clarify, self.answer)
        nodes = [(yield from growing.root())]
        level = list(nodes)
        for _ in range(self.rounds):
            expandable = [node for node in level if not node.excluded]
            grown = yield from together([growing.expand(nodes, node) for node in expandable])
            level = []
            for children in grown:
                level += [replace(child, id=len(nodes) + len(level) + i) for i, child in enumerate(children)]
            nodes += level
        return RecordRollout(
            record.id,
            "ok",
            tuple(growing.responses),
            trace={
                "nodes": [node.to_json() for node in _marked(nodes)],
                "paragraph_tokens": self.paragraph_tokens,
                "paragraphs": len(paragraphs),
                "verdicts": {
                    "requests": relevance.requests,
                    "unreadable": relevance.unreadable,
                    "reused": relevance.reused,
                },
            },
        )

    def describe(self, rollout: RecordRollout) -> Mapping[str, float]:
        nodes = [Node.from_json(row) for row in rollout.trace["nodes"]]
        rounds = [node for node in nodes if node.kind == "round"]
        verdicts = rollout.trace["verdicts"]
        described = {
            "tree/nodes": float(len(nodes)),
            "tree/excluded_rate": sum(bool(node.excluded) for node in rounds) / max(len(rounds), 1),
            "tree/kept_paragraph_rate": _mean([len(node.kept) / rollout.trace["paragraphs"] for node in nodes]),
            "tree/verdict_requests": float(verdicts["requests"]),
            "tree/unreadable_verdicts": float(verdicts["unreadable"]),
        }
        for name, values in (
            ("tree/first_answer_score", [node.score for node in nodes[:1]]),
            ("tree/best_score", [node.score for node in rounds if node.chosen]),
            ("tree/worst_score", [node.score for node in rounds if node.rejected]),
        ):
            known = [value for value in values if value is not None]
            if known:
                described[name] = max(known) if name != "tree/worst_score" else min(known)
        return described


def _marked(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes with the best and the worst path by the primary reward, if they differ."""
    compared = [node for node in nodes if node.compared]
    found = best_and_worst_nodes([node.score for node in compared if node.score is not None])
    if found is None:
        return list(nodes)
    return with_paths(nodes, *(compared[place].id for place in found))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)
