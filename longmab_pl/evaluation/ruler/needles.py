"""RULER's eight needle tasks: keys with values hidden in repeated sentences, a running text, or other needles."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler.example import Draws, Example, Template
from longmab_pl.evaluation.ruler.texts import Essay

Kind = Literal["words", "numbers", "uuids"]
Haystack = Literal["noise", "essay", "needle"]

DEPTHS = tuple(int(depth) for depth in np.round(np.linspace(0, 100, num=40)))
"""Places of needles in a running text, in percent of its sentences."""

_ONE = (("Some", "A"), ("are all", "is"), ("are", "is"), ("answers", "answer"))  # where one value is asked for


@dataclass(frozen=True)
class NeedleForm:
    """The form of needles and haystack.

    Args:
        haystack: `noise` (one line repeated), `essay` (a running text) or `needle` (other needles).
        key, value: form of a key and of a value.
        keys: least number of keys in the haystack; it always holds the keys that are asked for.
        values: number of values of each key.
        queries: number of keys that are asked for.
    """

    haystack: Haystack
    key: Kind = "words"
    value: Kind = "numbers"
    keys: int = 1
    values: int = 1
    queries: int = 1


@dataclass(frozen=True)
class NeedleMaterial:
    """The texts that needles are made of and hidden in.

    Args:
        words: keys or values of kind `words`, in a fixed order.
        sentence: one needle, with `{type_needle_v}`, `{key}` and `{value}`.
        noise: the line that is repeated.
        essay: the running text.
    """

    words: Sequence[str]
    sentence: str
    noise: str
    essay: Essay


class Needles:
    """A generator of the needle tasks (`Generator`); the size counts words of an essay, else lines.

    Args:
        form: form of the task.
        template: template with `{type_needle_v}`, `{context}` and `{query}`.
        material: texts to draw from.
        draws: random numbers.
    """

    def __init__(self, form: NeedleForm, template: Template, material: NeedleMaterial, draws: Draws) -> None:
        self.form = form
        self.material = material
        self.draws = draws
        one = form.queries * form.values == 1
        self.template = template.replaced(*_ONE) if one else template
        self.value_name = form.value[:-1] if one else form.value

    def __call__(self, size: int) -> Example:
        form, random = self.form, self.draws.random
        keys, values, needles = [], [], []
        for _ in range(max(form.keys, form.queries)):
            keys.append(self._draw(form.key))
            values.append([self._draw(form.value) for _ in range(form.values)])
            needles += [self._sentence(keys[-1], value) for value in values[-1]]
        self.draws.shuffle(needles)
        context = self._in_essay(size, needles) if form.haystack == "essay" else self._in_lines(size, needles)
        asked = random.sample(range(len(keys)), form.queries)
        return self.template.fill(
            tuple(value for k in asked for value in values[k]),
            type_needle_v=self.value_name,
            context=context,
            query=_listed([keys[k] for k in asked]),
        )

    @property
    def least(self) -> int:
        """The smallest size that has a place for every needle."""
        return 1 if self.form.haystack == "essay" else max(self.form.keys, self.form.queries) * self.form.values

    def step(self, length: int) -> int:
        """Return the step in units by which the size is searched and reduced, at a length in tokens."""
        if self.form.haystack == "essay":
            return 500
        return 25 if length >= 4096 else 5

    def _draw(self, kind: Kind) -> str:
        random = self.draws.random
        if kind == "words":
            return random.choice(self.material.words)
        if kind == "numbers":
            return str(random.randint(10**6, 10**7 - 1))
        return str(uuid.UUID(int=random.getrandbits(128), version=4))

    def _sentence(self, key: str, value: str) -> str:
        return self.material.sentence.format(type_needle_v=self.form.value, key=key, value=value)

    def _in_essay(self, size: int, needles: list[str]) -> str:
        sentences = self.material.essay.sentences(size)
        depths = self.draws.random.sample(DEPTHS, len(needles))
        places = [0, *sorted(int(len(sentences) * (depth / 100)) for depth in depths), len(sentences)]
        parts: list[str] = []
        for i, needle in enumerate([*needles, None]):
            parts.append(" ".join(sentences[places[i] : places[i + 1]]))
            if needle is not None:
                parts.append(needle)
        return " ".join(parts)

    def _in_lines(self, size: int, needles: list[str]) -> str:
        lines = (
            [self.material.noise] * size
            if self.form.haystack == "noise"
            else [self._sentence(self._draw(self.form.key), self._draw(self.form.value)) for _ in range(size)]
        )
        if len(needles) > size:
            raise ConfigError(f"a RULER haystack of {size} lines holds no {len(needles)} needles; use a longer length")
        places = sorted(self.draws.random.sample(range(size), len(needles)), reverse=True)
        for place, needle in zip(places, needles, strict=True):
            lines.insert(place, needle)
        return "\n".join(lines)


def _listed(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{', '.join(keys[:-1])}, and {keys[-1]}"
