"""The clarification tree: its nodes, their requests, and the choice of the compared nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TreeNode:
    """A node of the tree, in breadth-first order.

    Args:
        parent: index of its parent; None for the root.
        depth: number of rounds before it.
    """

    parent: int | None
    depth: int


@dataclass(frozen=True)
class ExpansionRequests:
    """Number of requests for the expansion of one node, by purpose.

    Args:
        clarify: requests for clarifying questions; one request samples all of them.
        relevance: requests for verdicts on paragraphs.
        answer: requests for answers to the clarifying questions.
        final: requests for final answers.
        check: requests for the model's verdict on its final answers.
    """

    clarify: int
    relevance: int
    answer: int
    final: int
    check: int

    @property
    def total(self) -> int:
        """Total number of requests."""
        return self.clarify + self.relevance + self.answer + self.final + self.check


def breadth_first(branching: int, rounds: int) -> list[TreeNode]:
    """Return the nodes of the full tree: the root, then `branching` children of every node above the last level.

    Example:
        >>> [node.depth for node in breadth_first(branching=2, rounds=2)]
        [0, 1, 1, 2, 2, 2, 2]

    Source: AgenticLU, section 3.2: 72 nodes below the root for 8 questions and 2 rounds.
    """
    nodes = [TreeNode(None, 0)]
    for index, node in enumerate(nodes):
        if node.depth < rounds:
            nodes += [TreeNode(index, node.depth + 1)] * branching
    return nodes


def separate_requests(branching: int, paragraphs: int) -> ExpansionRequests:
    """Return the requests of an expansion with one relevance request per question and paragraph.

    Example:
        >>> separate_requests(branching=8, paragraphs=256).total
        2073

    Source: AgenticLU, `sampling_step`.
    """
    return ExpansionRequests(1, branching * paragraphs, branching, branching, branching)


def joint_requests(branching: int, paragraphs: int) -> ExpansionRequests:
    """Return the requests of an expansion with one relevance request per paragraph for all questions.

    The check of final answers is left out, because nothing uses its result.

    Example:
        >>> joint_requests(branching=8, paragraphs=256).total
        273
    """
    return ExpansionRequests(1, paragraphs, branching, branching, 0)


def best_and_worst_nodes(scores: Sequence[float], margin: float = 0.0) -> tuple[int, int] | None:
    """Return the first of the best and the first of the worst nodes below the root, or None.

    Args:
        scores: scores of the nodes below the root, in breadth-first order.
        margin: the best must exceed the worst by more than this, so that they are never the same node.

    Example:
        >>> best_and_worst_nodes([1.0, 0.0, 2.0, 0.0]), best_and_worst_nodes([2.0, 2.0])
        ((2, 1), None)

    Source: AgenticLU, section 3.3 (the program pairs a node with itself if all scores are equal, and with an empty
    conversation if all are 2).
    """
    if not scores:
        return None
    best, worst = max(scores), min(scores)
    return (list(scores).index(best), list(scores).index(worst)) if best - worst > margin else None
