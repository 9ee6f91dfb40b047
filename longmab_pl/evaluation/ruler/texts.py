"""RULER's haystacks and templates in our own words."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from longmab_pl.data.sentences import sentence_starts
from longmab_pl.data.synthetic_world import Names, World
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler.example import Template

NOISE = "The river runs slowly. The stones are gray. A door stands open. It may rain later. They walk on."
"""The line that is repeated."""

NEEDLE = "One of the secret {type_needle_v} for {key} is: {value}."

DOCUMENT = "Document {i}:\n{document}"

NEEDLE_TEMPLATE = Template(
    "Some secret {type_needle_v} are hidden in this text. Remember them, the answers to a question later on.\n"
    "{context}\n"
    "What are all the secret {type_needle_v} for {query} in the text above?",
    " The secret {type_needle_v} for {query} in the text are",
)
TRACKING_TEMPLATE = Template(
    "Follow the assignments of variables that are hidden in this text.\n\n"
    "{context}\n"
    "Question: Which variables hold the value {query} in the text above?",
    " Answer: By the assignments in the text, {num_v} variables hold the value {query}: ",
)
COMMON_TEMPLATE = Template(
    "This is a numbered list of words, in which some stand more often than others. Remember the ones that stand most "
    "often.\n"
    "{context}\n"
    "Question: Which ten words stand most often in the list above?",
    " Answer: The ten words that stand most often in the list are:",
)
FREQUENT_TEMPLATE = Template(
    "This is a text in a code. Find its most frequent coded words; the dots mean nothing.\n"
    "{context}\n"
    "Question: Leave the dots out. Which three coded words are the most frequent in the text above?",
    " Answer: The three most frequent words in the coded text are:",
)
QUESTION_TEMPLATE = Template(
    "Answer the question from these documents. Give only the answer.\n\n"
    "{context}\n\n"
    "Answer the question from the documents above. Give only the answer.\n\n"
    "Question: {query}",
    " Answer:",
)


class Essay:
    """A running text, repeated as often as needed.

    Args:
        words: its words.
        split: function from a text to its sentences.
    """

    def __init__(self, words: Sequence[str], split: Callable[[str], list[str]]) -> None:
        if not words:
            raise ConfigError("the running text (`essay`) is empty; give a file with sentences, or none for ours")
        self.words = words
        self._split = split
        self._last: tuple[int, list[str]] = (0, [])

    def sentences(self, size: int, *, repeat: bool = True) -> list[str]:
        """Return the sentences of the first `size` words; most examples of a task ask for the same number."""
        if size != self._last[0]:
            times = -(-size // len(self.words)) if repeat else 1
            words = [*self.words] * times if times > 1 else self.words
            self._last = size, self._split(" ".join(words[:size]))
        return self._last[1]


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, stripped."""
    starts = sentence_starts(text)
    return [text[a:b].strip() for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def own_essay(words: int, seed: int = 0) -> Essay:
    """Return a text about an invented world, without numbers of more than four digits.

    Args:
        words: number of words; longer haystacks repeat it.
        seed: random seed of the world.
    """
    made: list[str] = []
    rng = random.Random(seed)
    for sentence in _statements(rng, Names(rng)):
        made += sentence.split()
        if len(made) >= words:
            return Essay(made, sentences)
    raise AssertionError("the text is endless")


def essay_of(path: str | Path) -> Essay:
    """Return the text of a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the running text {path} cannot be read: {error}; give a text file in UTF-8") from error
    return Essay(re.split(r"\s+", text.strip()) if text.strip() else [], sentences)


def _statements(rng: random.Random, names: Names) -> Iterator[str]:
    while True:
        world = World(rng, names, size=24)
        entities = [entity for group in world.entities.values() for entity in group]
        rng.shuffle(entities)
        for entity in entities:
            yield rng.choice(entity.kind.openings).format(s=entity.name)
            for relation in rng.sample(entity.kind.relations, len(entity.kind.relations)):
                filled = rng.choice(relation.statements).format(s=entity.name, o=entity.values[relation.name])
                yield filled[0].upper() + filled[1:]
