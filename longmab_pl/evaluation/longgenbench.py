"""LongGenBench: sections of a long answer, and the tasks that each of them must fulfil."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SEPARATOR = "#*#"
"""Mark before every section of an answer."""

KINDS = ("once", "range", "periodic")
"""Kinds of tasks: for one section, for a run of sections, for every so many sections."""

_WORDS = re.compile(r"[^\W\d_]{3,}")
_EMPTY_WORDS = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "from",
        "into",
        "that",
        "this",
        "week",
        "floor",
        "block",
        "menu",
        "every",
        "each",
        "your",
        "yourself",
        "his",
        "her",
        "their",
        "our",
        "attend",
        "attending",
        "participate",
        "participating",
        "join",
        "joining",
        "taking",
        "take",
        "going",
        "visit",
        "visiting",
    ]
)


@dataclass(frozen=True)
class Checks:
    """What an answer must have.

    Args:
        unit: name of a section ("Week", "Floor", "Block", "Menu Week").
        sections: number of sections.
        tasks: kind -> section -> what it must have.
    """

    unit: str
    sections: int
    tasks: Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class Completion:
    """The result of one answer.

    Args:
        completion: share of sections that are there, in 0..1 (CR).
        fulfilled: kind -> section -> whether its task is fulfilled, for the sections that are there.
        checks: what was asked for.
    """

    completion: float
    fulfilled: Mapping[str, Mapping[int, bool]]
    checks: Checks

    def accuracy(self, kind: str | None = None, *, of_all: bool = False) -> float | None:
        """Return the share of fulfilled tasks, in 0..1; None if there is no task.

        Args:
            kind: one of `KINDS`; None: all tasks.
            of_all: of all tasks (STC-2), not only of those whose section is there (STC-1).
        """
        kinds = KINDS if kind is None else (kind,)
        right = sum(sum(self.fulfilled[k].values()) for k in kinds)
        asked = sum(len(self.checks.tasks[k]) if of_all else len(self.fulfilled[k]) for k in kinds)
        return right / asked if asked else None


def sections_of(answer: str, unit: str) -> dict[int, str]:
    """Return an answer's sections by number; of two with one number the first that is not empty counts.

    Example:
        >>> sections_of("#*# Week 1: Rain. #*# Week 2: Sun.", "Week")
        {1: 'Week 1: Rain.', 2: 'Week 2: Sun.'}

    Source: LongGenBench (arXiv:2409.02076), `eval.py` (where the last of several counts).
    """
    pattern = re.compile(rf"{re.escape(unit)} (\d{{1,6}})", re.IGNORECASE)
    found: dict[int, str] = {}
    for part in answer.split(SEPARATOR):
        text = part.strip()
        match = pattern.search(text)
        if match is not None and _WORDS.search(text[match.end() :]):
            found.setdefault(int(match[1]), text)
    return found


def mentions(section: str, task: str) -> bool:
    """Return whether a section has most content words of a task, by their first five letters.

    It takes the place of a judge where there is none: it knows no synonyms, and cannot tell a plan from a fact.

    Example:
        >>> mentions("We attended a parenting workshop.", "Attend a parenting workshop")
        True
    """
    wanted = {word[:5] for word in _content(task)}
    return bool(wanted) and 3 * len(wanted & {word[:5] for word in _content(section)}) >= 2 * len(wanted)


def completion_of(answer: str, checks: Checks, verdicts: Mapping[tuple[str, int], bool] | None = None) -> Completion:
    """Return the result of an answer.

    Args:
        answer: the whole answer, beginning with the prefix that the prompt gives.
        checks: what it must have.
        verdicts: (kind, section) -> a judge's verdict; None: `mentions` decides.
    """
    found = sections_of(answer, checks.unit)
    present = sum(1 for number in found if 1 <= number <= checks.sections)
    fulfilled: dict[str, dict[int, bool]] = {}
    for kind in KINDS:
        fulfilled[kind] = {}
        for number, task in checks.tasks[kind].items():
            if number not in found:
                continue
            if verdicts is None:
                fulfilled[kind][number] = mentions(found[number], task)
            elif (kind, number) in verdicts:
                fulfilled[kind][number] = verdicts[kind, number]
    return Completion(present / checks.sections, fulfilled, checks)


def _content(text: str) -> list[str]:
    return [word for word in _WORDS.findall(text.lower()) if word not in _EMPTY_WORDS]
