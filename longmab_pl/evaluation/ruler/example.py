"""What RULER's generators share: an example, the template it fills, and the random numbers behind it."""

from __future__ import annotations

import random
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Example:
    """One question of a task.

    Args:
        text: text of the user's turn.
        prefix: start of the answer, placed after the assistant's header.
        answers: the references.
    """

    text: str
    prefix: str
    answers: tuple[str, ...]

    @property
    def whole(self) -> str:
        """The text and the answer prefix, as RULER counts them."""
        return self.text + self.prefix


@dataclass(frozen=True)
class Template:
    """The words around a task's context.

    Args:
        text: the user's turn, with the task's fields (`{context}`, `{query}`, ...).
        prefix: the start of the answer, with the same fields.
        head: the text before `text`; a worked example goes between the two.
    """

    text: str
    prefix: str
    head: str = ""

    def replaced(self, *words: tuple[str, str]) -> Template:
        """Return the template with words replaced one after the other, in all of its parts."""
        head, text, prefix = self.head, self.text, self.prefix
        for old, new in words:
            head, text, prefix = (part.replace(old, new) for part in (head, text, prefix))
        return Template(text, prefix, head)

    def fill(self, answers: tuple[str, ...], **fields: object) -> Example:
        """Return the example with its fields filled in one pass; braces in a document are kept."""
        return Example(self.head + self.text.format(**fields), self.prefix.format(**fields), answers)


class Draws:
    """The random numbers of one task: two streams that are seeded once, and a shuffle that is seeded at every call.

    The shuffle gives lists of the same length the same permutation, in every example, as RULER's does.

    Args:
        seed: random seed of all three.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.numbers = np.random.RandomState(seed)

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Shuffle in place by the fixed permutation of this length."""
        random.Random(self.seed).shuffle(items)

    def capitals(self, length: int) -> str:
        """Return a name of capital letters."""
        return "".join(self.random.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=length))

    def five_digits(self) -> str:
        """Return a number of five digits."""
        return str(self.numbers.randint(10000, 99999))


class Redraw(Exception):
    """Raised when a generator drew an example that cannot be used; its next example will differ."""


class Generator(Protocol):
    """A generator of a task's examples; `size` is in units of its haystack (words, lines, documents).

    It may raise `Redraw`.
    """

    def __call__(self, size: int) -> Example: ...


Count = Callable[[Example], int]
"""A function that returns an example's tokens with its answer, chat template and answer prefix included."""


def one_line(text: str) -> str:
    """Return a text with every run of white space as one blank."""
    return " ".join(text.split())
