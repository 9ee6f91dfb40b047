"""A record's document as a strip: its chunks, what they turned out to be worth, and which of them each pull read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 600.0
"""Width of the drawing in its own units."""

VALUE_HEIGHT, PULLS_HEIGHT, STEP_HEIGHT = 22.0, 24.0, 7.0
MAX_CHUNKS, MAX_STEPS = 600, 64
"""Largest number of chunks and pulls that are drawn; of more chunks nothing is, of more pulls the first."""


@dataclass(frozen=True)
class Cell:
    """A rectangle of the strip.

    Args:
        x, y, width, height: place in the drawing's units.
        shade: 0..1, from the lowest to the highest color; None: nothing is known.
        title: what it shows, in words.
        kind: `value`, `pulls`, `read`, `gold`, `chosen` or `rejected`.
    """

    x: float
    y: float
    width: float
    height: float
    shade: float | None
    title: str
    kind: str


@dataclass(frozen=True)
class Strip:
    """The drawing: its cells and its height, the number of chunks, and that of pulls with those left out."""

    cells: tuple[Cell, ...]
    height: float
    chunks: int
    pulls: int
    gold_known: bool


def strip(rollout: Mapping[str, Any], chosen: Sequence[int], rejected: Sequence[int], primary: str) -> Strip | None:
    """Return the strip of a bandit's record; None for a record without chunks.

    Args:
        rollout: row of `rollouts.jsonl`.
        chosen: chunks that were read for the chosen answer.
        rejected: chunks that were read for the rejected one.
        primary: the reward that colors pulls.
    """
    trace = rollout["trace"]
    values, pulls = trace.get("values", ()), trace.get("pulls", ())
    n = len(values)
    if not n or n > MAX_CHUNKS or len(pulls) != n:
        return None
    evidence = list(trace.get("evidence", ()))
    gold = [bool(flag) for flag in evidence] if len(evidence) == n else [False] * n
    top, width = max(1.0, *values), WIDTH / n
    gap = min(1.5, width * 0.12)
    most = max(1, *pulls)
    cells = []
    for i in range(n):
        x, inner = i * width, width - gap
        said = [f"chunk {i + 1} of {n}", f"value {values[i]:.3f}", f"{pulls[i]} pull{'s' if pulls[i] != 1 else ''}"]
        said += ["holds the gold answer"] if gold[i] else []
        said += ["read for the chosen answer"] if i in chosen else []
        said += ["read for the rejected answer"] if i in rejected else []
        title = ", ".join(said)
        cells.append(Cell(x, 8, inner, VALUE_HEIGHT, max(0.0, values[i] / top), title, "value"))
        if gold[i]:
            cells.append(Cell(x, 1, inner, 4, None, title, "gold"))
        for kind, indices, y in (("chosen", chosen, 31.5), ("rejected", rejected, 35.0)):
            if i in indices:
                cells.append(Cell(x, y, inner, 2.5, None, title, kind))
        height = PULLS_HEIGHT * pulls[i] / most
        if height:
            cells.append(Cell(x, 40 + PULLS_HEIGHT - height, inner, height, None, title, "pulls"))
    steps, last = _steps(rollout, primary), 40 + PULLS_HEIGHT + 6
    for row, (reward, read) in enumerate(steps[:MAX_STEPS]):
        shown = "no reward" if reward is None else f"mean reward {reward:.3f}"
        shade = None if reward is None else min(max(reward, 0.0), 1.0)
        for i in read:
            if 0 <= i < n:
                title = f"pull {row + 1} read chunk {i + 1}: {shown}"
                cells.append(
                    Cell(i * width, last + row * STEP_HEIGHT, width - gap, STEP_HEIGHT - 1, shade, title, "read")
                )
    return Strip(tuple(cells), last + min(len(steps), MAX_STEPS) * STEP_HEIGHT, n, len(steps), any(evidence))


def _steps(rollout: Mapping[str, Any], primary: str) -> list[tuple[float | None, Sequence[int]]]:
    """Return mean reward and chunks of each pull."""
    by_step: dict[int, tuple[list[float], Sequence[int]]] = {}
    for response in rollout["responses"]:
        rewards, _ = by_step.setdefault(response["step"], ([], response["read"]))
        score = response["scores"].get(primary)
        if score is not None and score["excluded"] is None:
            rewards.append(score["value"])
    return [(sum(r) / len(r) if r else None, read) for _, (r, read) in sorted(by_step.items())]
