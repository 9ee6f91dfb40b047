"""The nodes of a growing clarification tree, and the form in which a trace holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from longmab_pl.prompts.transcript import Turn
from longmab_pl.rewards.base import Score
from longmab_pl.strategies.clarification_tree.conversation import Round


@dataclass(frozen=True)
class Node:
    """A node: the root's answer, or one clarification round.

    Args:
        id: place in the trace; parents come before their children.
        parent: id of its parent; None for the root.
        kind: `root` or `round`.
        text: the clarifying question; at the root, the answer.
        turns: what was sampled: at the root the answer; else clarifying question, own answer, final answer.
        kept: numbers of the paragraphs that it read.
        excluded: why it takes no part; "" if it does.
        response: its place among the record's responses; None for an excluded node.
        score: value of the primary reward; None if there is none.
        parts: components of the score.
        chosen: whether it is on the best path.
        rejected: whether it is on the worst path.
    """

    id: int
    parent: int | None
    kind: Literal["root", "round"]
    text: str
    turns: tuple[Turn, ...] = ()
    kept: tuple[int, ...] = ()
    excluded: str = ""
    response: int | None = None
    score: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    chosen: bool = False
    rejected: bool = False

    @property
    def compared(self) -> bool:
        """Whether it is a round that can be on a best or worst path."""
        return self.kind == "round" and not self.excluded and self.score is not None

    def scored(self, score: Score) -> Node:
        """Return the node with its score."""
        return replace(self, score=None if score.excluded is not None else score.value, parts=dict(score.parts))

    def to_json(self) -> dict[str, Any]:
        """Return the node in the form of traces of searches (`docs/rollouts.md`)."""
        return {
            "id": self.id,
            "parent": self.parent,
            "kind": self.kind,
            "text": self.text,
            "score": self.score,
            "parts": dict(self.parts),
            "chosen": self.chosen,
            "rejected": self.rejected,
            "excluded": self.excluded or None,
            "response": self.response,
            "turns": [turn.to_json() for turn in self.turns],
            "kept": list(self.kept),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Node:
        """Return the node of a row made by `to_json`. Raises `KeyError` or `TypeError` for another object."""
        return cls(
            **{
                **row,
                "excluded": row["excluded"] or "",
                "turns": tuple(map(Turn.from_json, row["turns"])),
                "kept": tuple(row["kept"]),
            }
        )


def path_to(nodes: Sequence[Node], id: int) -> list[Node]:
    """Return the nodes from the root to a node, both included."""
    path = [nodes[id]]
    while (parent := path[-1].parent) is not None:
        path.append(nodes[parent])
    return path[::-1]


def round_of(node: Node) -> Round:
    """Return the clarification round of a node below the root."""
    clarification, answer, final = node.turns
    return Round(clarification, node.kept, answer, final)


def rounds_to(nodes: Sequence[Node], id: int) -> list[Round]:
    """Return the clarification rounds that lead to a node, its own included."""
    return [round_of(node) for node in path_to(nodes, id)[1:]]


def with_paths(nodes: Sequence[Node], best: int, worst: int) -> list[Node]:
    """Return the nodes with the best and the worst path marked."""
    chosen, rejected = ({node.id for node in path_to(nodes, end)} for end in (best, worst))
    return [replace(node, chosen=node.id in chosen, rejected=node.id in rejected) for node in nodes]
