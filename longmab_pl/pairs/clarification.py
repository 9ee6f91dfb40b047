"""AgenticLU's pairs: the best conversation of a clarification tree against the worst, and siblings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longmab_pl.checks import at_least, not_negative
from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.build import pair_origin
from longmab_pl.pairs.rule import PairContext
from longmab_pl.pairs.scores import compared_values
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts.system_turns import with_system
from longmab_pl.prompts.transcript import Turn, transcript
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import RecordRollout
from longmab_pl.strategies.clarification_tree import conversation
from longmab_pl.strategies.clarification_tree.nodes import Node, path_to, rounds_to
from longmab_pl.strategies.clarification_tree.paragraphs import Paragraph, cut_paragraphs, mark_paragraphs
from longmab_pl.strategies.clarification_tree.tree import best_and_worst_nodes

Compared = tuple[int, int, int | None]
"""The better and the worse node of a pair, and their parent; None for whole conversations."""


@dataclass(frozen=True)
class ClarificationPairs:
    """Pairs of a clarification tree's conversations over the whole document, for `strategies.ClarificationTree`.

    Whole conversations: the best node against the worst, as the original. Siblings: for each expanded node, its best
    child against its worst; their prompt is the conversation up to that node, which training computes once for all
    pairs that share it. Supervised fine-tuning imitates the best whole conversation only.

    Only the assistant's turns are learned, by the token ids that were sampled; the turn that points back is written
    from the verdicts. A document that is too long loses paragraphs that no compared conversation points to, from the
    middle on; the others keep their numbers. Pairs of siblings that do not fit even so are left out.

    Args:
        max_prompt_length: tokens of the longest conversation, its document included.
        by: name of the reward whose values are compared; null: the first of the run.
        min_margin: the better node must exceed the worse one by more than this; with 0 they only have to differ.
        whole: whether there are pairs of whole conversations.
        siblings: whether there are pairs of siblings.
        first_answer: whether conversations have the answer before any clarification, as in the original. false: the
            document, the question and the request for a clarifying question are one turn, as agentic inference asks.

    Example:
        >>> ClarificationPairs(max_prompt_length=32768, min_margin=0.2).reads
        ()

    Source: AgenticLU (arXiv 2502.15920), section 3.3; siblings are ours.
    """

    max_prompt_length: int = 131072
    by: str | None = None
    min_margin: float = 0.0
    whole: bool = True
    siblings: bool = True
    first_answer: bool = True

    def __post_init__(self) -> None:
        at_least("pairs.max_prompt_length", self.max_prompt_length, 64, "a prompt needs at least 64 tokens")
        not_negative("pairs.min_margin", self.min_margin)
        if not (self.whole or self.siblings):
            raise ConfigError("pairs.whole and pairs.siblings are both false, so there would be no pair; set one")

    @property
    def reads(self) -> tuple[str, ...]:
        return () if self.by is None else (self.by,)

    def pairs(self, record: QARecord, rollout: RecordRollout, context: PairContext) -> list[PreferencePair]:
        if "paragraph_tokens" not in rollout.trace:
            raise ConfigError(
                "data.pairs is ClarificationPairs, which needs the conversations of data.strategy: "
                "longmab_pl.strategies.ClarificationTree; this rollout has none"
            )
        nodes = [Node.from_json(row) for row in rollout.trace["nodes"]]
        values = self._values(nodes, rollout, context)
        chosen = self._chosen(nodes, values)
        if not chosen:
            context.skip("few_scored" if len(values) < 2 else "same_score")
            return []
        document = _Document(record, rollout, context, nodes, chosen, self)
        return [document.pair(number, *pair, values) for number, pair in enumerate(document.fitting)]

    def _values(self, nodes: Sequence[Node], rollout: RecordRollout, context: PairContext) -> dict[int, float]:
        """Return the compared value of each node that can be compared."""
        values = compared_values(rollout.responses, self.by, context.primary)
        return {
            node.id: value
            for node in nodes
            if node.kind == "round" and node.response is not None and (value := values[node.response]) is not None
        }

    def _chosen(self, nodes: Sequence[Node], values: dict[int, float]) -> list[Compared]:
        """Return the compared nodes of each pair."""
        found: list[Compared] = []
        if self.whole and (best := self._best_and_worst(list(values), values)):
            found.append((*best, None))
        if self.siblings:
            for parent in nodes:
                children = [node.id for node in nodes if node.parent == parent.id and node.id in values]
                best = self._best_and_worst(children, values)
                if best and all(best != pair[:2] for pair in found):
                    found.append((*best, parent.id))
        return found

    def _best_and_worst(self, ids: Sequence[int], values: dict[int, float]) -> tuple[int, int] | None:
        places = best_and_worst_nodes([values[id] for id in ids], self.min_margin)
        return None if places is None else (ids[places[0]], ids[places[1]])


@dataclass
class _Document:
    """One record's document, as all its pairs show it, and their conversations."""

    record: QARecord
    rollout: RecordRollout
    context: PairContext
    nodes: Sequence[Node]
    chosen: Sequence[Compared]
    rule: ClarificationPairs
    arguments: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.arguments = dict(self.context.prompt_format.template_arguments)
        tokenizer = self.context.tokenizer
        paragraphs = cut_paragraphs(self.record.context, tokenizer, self.rollout.trace["paragraph_tokens"])
        self.fitting, shown = self._fitting(paragraphs)
        self.marked = mark_paragraphs([p.text for p in shown], [p.number for p in shown])

    def pair(
        self, number: int, better: int, worse: int, parent: int | None, values: dict[int, float]
    ) -> PreferencePair:
        """Return one pair."""
        sides = [self.turns(self.marked, id) for id in (better, worse)]
        prompt = next(i for i, turn in enumerate(sides[0]) if turn.role == "assistant")
        shared = conversation.TURNS_PER_ROUND * (0 if parent is None else len(path_to(self.nodes, parent)) - 1)
        first, second = self.nodes[better].response, self.nodes[worse].response
        assert first is not None
        assert second is not None
        return PreferencePair.of_conversations(
            self.record.id,
            tuple(turn.message for turn in sides[0][:prompt]),
            sides[0][prompt:],
            sides[1][prompt:],
            chosen_reward=values[better],
            rejected_reward=values[worse],
            shared_turns=shared + (2 if self.rule.first_answer else 0),
            imitated=parent is None,
            origin=pair_origin(self.record, self.rollout, self.context, number, first, second),
        )

    def turns(self, marked: str, id: int) -> list[Turn]:
        """Return the conversation that leads to a node."""
        answer = self.nodes[0].turns[0] if self.rule.first_answer else None
        turns = conversation.trace(marked, self.record.question, answer, rounds_to(self.nodes, id))
        return with_system(self.context.tokenizer, turns, self.arguments)

    def _fitting(self, paragraphs: Sequence[Paragraph]) -> tuple[list[Compared], list[Paragraph]]:
        """Return the pairs whose conversations fit with all paragraphs that they point to, and the paragraphs to show.

        Raises:
            DataError: not even the first pair fits.
        """
        cost = [p.tokens + self.context.count(mark_paragraphs([""], [p.number])) for p in paragraphs]
        fitting: list[Compared] = []
        needed: set[int] = set()
        longest = 0
        for pair in self.chosen:
            more = needed | {n for id in pair[:2] for node in path_to(self.nodes, id)[1:] for n in node.kept}
            length = max(longest, *(self._length(id) for id in pair[:2]))
            total = length + sum(cost[number] for number in more)
            if total <= self.rule.max_prompt_length:
                fitting, needed, longest = [*fitting, pair], more, length
            elif not fitting:
                raise DataError(
                    f"record {quoted(self.record.id)}: a conversation and the paragraphs that it points to take "
                    f"{total} tokens, more than pairs.max_prompt_length = {self.rule.max_prompt_length}; raise it, or "
                    "lower strategy.max_read_tokens"
                )
        free = self.rule.max_prompt_length - longest - sum(cost[number] for number in needed)
        shown = set(needed)
        middle = (len(paragraphs) - 1) / 2
        for p in sorted(paragraphs, key=lambda p: (-abs(p.number - middle), p.number)):
            if p.number not in shown and cost[p.number] <= free:
                shown.add(p.number)
                free -= cost[p.number]
        return fitting, [p for p in paragraphs if p.number in shown]

    def _length(self, id: int) -> int:
        """Return the tokens of the conversation that leads to a node, without the document."""
        return len(transcript(self.context.tokenizer, self.turns("", id), self.arguments).ids)
