"""NoLiMa's needle sets: one test for each question, arguments and book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BASE_SEED = 42
CHARACTER = "{CHAR}"


@dataclass(frozen=True)
class NeedleTest:
    """A needle and its question, to be hidden in one book at all depths.

    Args:
        name: entry, test and question type.
        book: number of the book, from 0.
        needle: the sentence; `{CHAR}` is replaced by a drawn name.
        question: the question.
        golds: the answers; empty where a name is drawn.
        characters: names to draw from.
        system_prompt: the entry's system prompt; the official program does not send it.
        template: the entry's template, with `{haystack}` and `{question}`; None: the default one.
        seed: random seed of the names.
        distractor: a second sentence that looks like the needle, or None.
    """

    name: str
    book: int
    needle: str
    question: str
    golds: tuple[str, ...]
    characters: tuple[str, ...]
    system_prompt: str
    template: str | None
    seed: int
    distractor: str | None


def expanded(entries: Sequence[Mapping[str, Any]], books: int, base_seed: int = BASE_SEED) -> list[NeedleTest]:
    """Return the tests of a needle set, book by book.

    A question with several placeholders keeps only the last one filled, as in the original.

    Args:
        entries: the set's list.
        books: number of books; their order decides the seeds.
        base_seed: random seed of the first entry in the first book.
    """
    tests = []
    for book in range(books):
        for entry in entries:
            for kind, question in entry["questions"].items():
                for test, given in entry["tests"].items():
                    arguments = given["input_args"]
                    distractor = (entry.get("distractors") or {}).get(kind)
                    tests.append(
                        NeedleTest(
                            name=f"{entry['id']}_{test}_{kind}",
                            book=book,
                            needle=_filled(entry["needle"], arguments),
                            question=_last_filled(question, arguments),
                            golds=tuple(given.get("gold_answers", ())),
                            characters=tuple(entry.get("character_set", ())),
                            system_prompt=entry["system_prompt"],
                            template=entry.get("task_template"),
                            seed=base_seed + int(entry["id"][:4]) + book,
                            distractor=None if distractor is None else _filled(distractor, arguments),
                        )
                    )
    return tests


def depths(count: int = 26) -> list[float]:
    """Return the places of needles, in percent of the haystack."""
    return [float(depth) for depth in np.linspace(0, 100, count)]


def drawn_characters(seed: int, characters: Sequence[str], count: int) -> list[str]:
    """Return the name of the needle at each depth of a test."""
    random = np.random.RandomState(seed)
    return [str(random.choice(np.array(characters))) for _ in range(count)]


def _filled(text: str, arguments: Sequence[str]) -> str:
    for i, argument in enumerate(arguments, 1):
        text = text.replace("{" + str(i) + "}", argument)
    return text


def _last_filled(question: str, arguments: Sequence[str]) -> str:
    result = question
    for i, argument in enumerate(arguments, 1):
        name = "{" + str(i) + "}"
        if name in question:
            result = question.replace(name, argument)
    return result
