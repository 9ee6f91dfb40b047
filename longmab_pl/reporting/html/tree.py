"""A record's search tree as a drawing, from left to right, and its nodes as a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.reporting.html.text import clean, line

COLUMN, ROW, MARGIN = 110.0, 18.0, 14.0
"""Distance of levels, distance of leaves, and the margin, in the drawing's units."""

MAX_NODES = 300
"""Largest number of nodes that are drawn, in breadth-first order as far as parents come first."""

NODE_CHARACTERS, MAX_TURNS = 1_500, 12
"""Longest text of a node or turn, in characters, and largest number of a node's turns."""


@dataclass(frozen=True)
class Node:
    """A node of the drawing.

    Args:
        x, y: its place.
        parent: place of its parent; None for a root.
        shade: score between the lowest (0) and the highest (1) of the tree; None: without a score.
        kind: what the method calls it.
        text: its text, cleaned.
        turns: role and text of its conversation, cleaned.
        excluded: why it takes no part; "" if it does.
        title: one line about it.
        score: the score for the list; "" without one.
        parts: name -> number of the score's parts.
        chosen, rejected: whether it is on the best path, on the worst path.
        number: from 1.
        depth: its level, from 0.
    """

    x: float
    y: float
    parent: tuple[float, float] | None
    shade: float | None
    kind: str
    text: str
    turns: Sequence[tuple[str, str]]
    excluded: str
    title: str
    score: str
    parts: Mapping[str, str]
    chosen: bool
    rejected: bool
    number: int
    depth: int


@dataclass(frozen=True)
class Tree:
    """The drawing of a tree and the number of nodes that it leaves out."""

    nodes: tuple[Node, ...]
    width: float
    height: float
    left_out: int


def tree(trace: Mapping[str, Any]) -> Tree | None:
    """Return the tree of a trace; None if it holds none.

    Args:
        trace: `RecordRollout.trace` with `nodes` as docs/rollouts.md describes them. A node whose parent does not come
            before it is drawn as a root.
    """
    given = trace.get("nodes")
    if not isinstance(given, list) or not given:
        return None
    rows = [node for node in given if isinstance(node, Mapping)][:MAX_NODES]
    place = {_key(node.get("id")): i for i, node in reversed(list(enumerate(rows)))}
    parents: list[int | None] = []
    for i, node in enumerate(rows):
        parent = None if node.get("parent") is None else place.get(_key(node["parent"]))
        parents.append(parent if parent is not None and parent < i else None)
    depths: list[int] = []
    for parent in parents:
        depths.append(0 if parent is None else depths[parent] + 1)
    heights = _heights(parents)
    scores = [_number(node.get("score")) for node in rows]
    known = [score for score in scores if score is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    where = [(MARGIN + depths[i] * COLUMN, MARGIN + heights[i] * ROW) for i in range(len(rows))]
    nodes = []
    for i, node in enumerate(rows):
        score, parent = scores[i], parents[i]
        kind = line(node.get("kind") or "node", 60)
        said = [f"{i + 1}. {kind}"] + ([f"score {score:.3g}"] if score is not None else [])
        said += [name for name in ("chosen", "rejected") if node.get(name)]
        nodes.append(
            Node(
                *where[i],
                parent=None if parent is None else where[parent],
                shade=None if score is None else 0.5 if high == low else (score - low) / (high - low),
                kind=kind,
                text=clean(node.get("text") or "", NODE_CHARACTERS),
                turns=_turns(node.get("turns")),
                excluded=line(node.get("excluded") or "", 160),
                title=", ".join(said) + ": " + line(node.get("text") or "", 160),
                score="" if score is None else f"{score:.3g}",
                parts=_parts(node.get("parts")),
                chosen=bool(node.get("chosen")),
                rejected=bool(node.get("rejected")),
                number=i + 1,
                depth=depths[i],
            )
        )
    return Tree(
        tuple(nodes),
        2 * MARGIN + max(depths) * COLUMN + 40,
        2 * MARGIN + max(heights) * ROW,
        len(given) - len(rows),
    )


def _heights(parents: Sequence[int | None]) -> list[float]:
    """Return each node's height: leaves below one another, a parent in the middle of its children."""
    children: list[list[int]] = [[] for _ in parents]
    for i, parent in enumerate(parents):
        if parent is not None:
            children[parent].append(i)
    heights = [0.0] * len(parents)
    free = 0
    stack = [(i, False) for i, parent in reversed(list(enumerate(parents))) if parent is None]
    while stack:
        i, done = stack.pop()
        if not children[i]:
            heights[i] = free
            free += 1
        elif done:
            heights[i] = (heights[children[i][0]] + heights[children[i][-1]]) / 2
        else:
            stack.append((i, True))
            stack += [(child, False) for child in reversed(children[i])]
    return heights


def _turns(turns: Any) -> list[tuple[str, str]]:
    found = [turn for turn in turns if isinstance(turn, Mapping)] if isinstance(turns, list) else []
    return [(line(t.get("role") or "", 20), clean(t.get("text") or "", NODE_CHARACTERS)) for t in found[:MAX_TURNS]]


def _parts(parts: Any) -> dict[str, str]:
    found = parts.items() if isinstance(parts, Mapping) else ()
    return {line(name, 40): f"{value:.3g}" for name, value in found if _number(value) is not None}


def _key(value: Any) -> str:
    return str(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value == value else None
