"""LongBench v2's scores: the letter in an answer, and accuracy by difficulty and length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LETTERS = ("A", "B", "C", "D")

_BRACKETED = re.compile(r"The correct answer is \(([A-D])\)")
_BARE = re.compile(r"The correct answer is ([A-D])")

CHANCE = 0.25
"""Compensated score of an answer without a letter."""


def answer_letter(response: str) -> str | None:
    """Return the letter of the fixed sentence that the prompt asks for, or None.

    Asterisks are ignored. A letter in brackets counts before one without, wherever they stand, and the first of each
    kind counts, as in the original; another wording is no answer.
    """
    text = response.replace("*", "")
    found = _BRACKETED.search(text) or _BARE.search(text)
    return None if found is None else found[1]


@dataclass(frozen=True)
class Judged:
    """A scored answer.

    Args:
        difficulty: "easy"; anything else counts as hard.
        length: "short" or "medium"; anything else counts as long.
        letter: letter of the answer, or None.
        correct: whether it is the right one.
    """

    difficulty: str
    length: str
    letter: str | None
    correct: bool


def accuracies(rows: Sequence[Judged], *, compensated: bool = False) -> dict[str, float | None]:
    """Return the accuracy in percent, one decimal, overall and by group; None for a group without rows.

    Args:
        rows: all answers.
        compensated: count an answer without a letter as chance, 0.25.
    """
    groups = {
        "Overall": rows,
        "Easy": [row for row in rows if row.difficulty == "easy"],
        "Hard": [row for row in rows if row.difficulty != "easy"],
        "Short": [row for row in rows if row.length == "short"],
        "Medium": [row for row in rows if row.length == "medium"],
        "Long": [row for row in rows if row.length not in ("short", "medium")],
    }
    return {name: _accuracy(group, compensated) for name, group in groups.items()}


def _accuracy(rows: Sequence[Judged], compensated: bool) -> float | None:
    if not rows:
        return None
    points = [CHANCE if compensated and row.letter is None else float(row.correct) for row in rows]
    return round(100 * sum(points) / len(rows), 1)
