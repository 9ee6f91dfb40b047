"""The tree of a stepwise search: every node is a block that continues the blocks above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from longmab_pl.rewards.base import Score
from longmab_pl.strategies.stepwise_search.candidates import puct
from longmab_pl.strategies.stepwise_search.facts import gate


@dataclass(eq=False)
class Node:
    """A block of the answer, or the root, which is the empty answer.

    Args:
        depth: number of blocks up to and including this one; 0 for the root.
        parent: the block before it; None for the root.
        text: the block.
        ids: its sampled token ids; empty if the engine does not return them.
        prior: its probability among its siblings.
        finished: whether the model ended its answer with it.
        scores: reward name -> score.
        value: its value by the judge; None if it has no verdict.
        contradicts: whether it contradicts a fact of an earlier block.
        children: the candidates for the next block, once it is expanded.
        facts: facts remembered from this block; None until they are asked for.
        closed: whether nothing can follow it: no room, no candidate, or no verdict.
        visits: number of visits.
        value_sum: sum of the values of its visits.
    """

    depth: int = 0
    parent: Node | None = None
    text: str = ""
    ids: tuple[int, ...] = ()
    prior: float = 1.0
    finished: bool = False
    scores: dict[str, Score] = field(default_factory=dict)
    value: float | None = None
    contradicts: bool = False
    children: list[Node] = field(default_factory=list)
    facts: list[str] | None = None
    closed: bool = False
    visits: int = 0
    value_sum: float = 0.0

    def path(self) -> list[Node]:
        """Return the blocks from the first to this one."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    @property
    def written(self) -> str:
        """The answer up to and including this block."""
        return "".join(node.text for node in self.path())

    @property
    def mean_value(self) -> float:
        """Mean of the values of its visits; before the first, its value by the judge."""
        return self.value_sum / self.visits if self.visits else self.value or 0.0

    def next_to_visit(self) -> Node | None:
        """Return the child that the search descends to: of largest PUCT among those that contradict no fact.

        Returns None if no child has a value.
        """
        usable = [child for child in self.children if child.value is not None]
        scores = [puct(c.prior, self.visits, c.visits, c.value_sum, c.value or 0.0) for c in usable]
        return _gated(usable, scores)

    def chosen(self) -> Node | None:
        """Return the child with most visits, of those the one of best mean value, among those that contradict no fact.

        Returns None if no child has a value.
        """
        usable = [child for child in self.children if child.value is not None]
        order = sorted({(child.visits, child.mean_value) for child in usable})
        return _gated(usable, [float(order.index((child.visits, child.mean_value))) for child in usable])

    def leaf(self) -> Node:
        """Return the node at which a descent from this one ends: it has no children, or none with a value."""
        node = self
        while (following := node.next_to_visit()) is not None:
            node = following
        return node

    def back_up(self, value: float) -> None:
        """Count a visit with this value for the node and all above it."""
        node: Node | None = self
        while node is not None:
            node.visits += 1
            node.value_sum += value
            node = node.parent

    def remembered(self) -> list[str]:
        """Return the facts of the blocks up to and including this one."""
        return [fact for node in self.path() for fact in node.facts or ()]

    def expanded(self) -> Iterator[Node]:
        """Yield this node and all below it that have children, parents before children."""
        if self.children:
            yield self
        for child in self.children:
            yield from child.expanded()


def _gated(nodes: Sequence[Node], scores: Sequence[float]) -> Node | None:
    if not nodes:
        return None
    return nodes[gate(scores, {i for i, node in enumerate(nodes) if node.contradicts}).chosen]
