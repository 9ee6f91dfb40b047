"""Long contexts: the passages that answer a question, among distractors, at a chosen length and depth."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from longmab_pl.checks import at_least, between
from longmab_pl.data.passages import fill_budget, join_passages
from longmab_pl.errors import ConfigError
from longmab_pl.seeding import derive_seed

_HEADER = "Passage 100:\n"
_STEP = 1024
_REMEMBERED = 200_000
_TRIED_AT_ONCE = 64
"""Distractors that are counted and tried at once; the pool is given up when none of so many fits."""


@dataclass(frozen=True)
class Document:
    """A passage as a context shows it.

    Args:
        key: identifies it; no key is twice in a context.
        text: what is shown below its `Passage i:` line.
    """

    key: str
    text: str


class Pool(Protocol):
    """Distractors that any question may use."""

    def keys(self) -> Sequence[str]:
        """Return the keys of all distractors, in an order that does not depend on the order of the data."""

    def text(self, key: str) -> str:
        """Return what a context shows of a distractor."""


@dataclass(frozen=True)
class ContextSettings:
    """Lengths and depths of contexts.

    Args:
        min_tokens: shortest target length in tokens, `Passage i:` lines included.
        max_tokens: longest target length. Targets are drawn per question, in steps of 1,024 where the range allows.
        depths: where the needed passages stand, one drawn per question: together, after this share of the distractors'
            tokens (0: first, 1: last). None: all passages are shuffled, as in the original program.
        seed: seed of all draws; a question's draws depend on it and on the question's id alone.

    Raises:
        ConfigError: a setting is out of range.

    Source: SeaLong (arXiv:2411.08147), `process_data.py`: 4 to 31 times 1,024 tokens.
    """

    min_tokens: int = 4 * _STEP
    max_tokens: int = 31 * _STEP
    depths: tuple[float, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("min_tokens", self.min_tokens, 1)
        at_least("max_tokens", self.max_tokens, self.min_tokens, f"it is below min_tokens, {self.min_tokens}")
        if self.depths is not None and not self.depths:
            raise ConfigError("depths is empty; give numbers from 0 to 1, or null")
        for depth in self.depths or ():
            between("depths", depth, 0, 1)

    def target(self, rng: random.Random) -> int:
        """Return a drawn target length in tokens."""
        step = _STEP if self.max_tokens - self.min_tokens >= _STEP else 1
        return rng.randrange(self.min_tokens, self.max_tokens + 1, step)


@dataclass(frozen=True)
class LongContext:
    """A built context.

    Args:
        text: the passages with their `Passage i:` lines.
        tokens: its length.
        target: the drawn length; `tokens` exceeds it only where the needed passages alone do.
        places: place of each needed passage among the passages, from 1, in the order of the needed passages.
        passages: number of passages.
    """

    text: str
    tokens: int
    target: int
    places: tuple[int, ...]
    passages: int


class ContextBuilder:
    """Builds contexts.

    Args:
        settings: lengths, depths and seed.
        count: function that returns the tokens of a text, without those that a tokenizer adds.
        pool: distractors for all questions.
    """

    def __init__(self, settings: ContextSettings, count: Callable[[str], int], pool: Pool) -> None:
        self.settings = settings
        self.count = count
        self.pool = pool
        self._pool_keys = list(pool.keys())
        self._tokens: dict[int, int] = {}
        self._header = count(_HEADER) + 1  # and the line end after the passage before

    def build(
        self,
        id: str,
        needed: Sequence[Document],
        own: Sequence[Document],
        allowed: Callable[[Document], bool] = lambda document: True,
    ) -> LongContext | None:
        """Return the context of a question, or None if its needed passages alone exceed `max_tokens`.

        Distractors of the question's own record come first, in random order, then others from the pool. One that does
        not fit is skipped, and later ones are tried.

        Args:
            id: id of the question, on which the draws depend.
            needed: the passages that the answer needs; all of them are in the context.
            own: distractors of the question's own record.
            allowed: whether a distractor of the pool may be in the context.
        """
        rng = random.Random(derive_seed(self.settings.seed, id, "context"))
        target = self.settings.target(rng)
        depth = None if self.settings.depths is None else rng.choice(self.settings.depths)
        least = self.count(join_passages([document.text for document in needed]))
        if least > self.settings.max_tokens:
            return None
        distractors: list[Document] = []
        batches = self._batches(rng, {document.key for document in needed}, own, allowed)
        used = least
        for _ in range(2):  # a second time with what sums of parts have overestimated
            for batch in batches:
                sizes = [self._size(document) for document in batch]
                chosen = fill_budget(used, sizes, target, self._header)
                distractors += [batch[i] for i in chosen]
                used += sum(sizes[i] + self._header for i in chosen)
                if not chosen and batch[0] not in own:
                    break
            used = self.count(join_passages([document.text for document in (*needed, *distractors)]))
        # Passages together may take a few tokens more or fewer than their sum.
        while True:
            order = self._ordered(rng, needed, distractors, depth)
            text = join_passages([document.text for document in order])
            tokens = self.count(text)
            if tokens <= target or not distractors:
                break
            distractors.pop()
        places = {document.key: place for place, document in enumerate(order, 1)}
        return LongContext(text, tokens, target, tuple(places[d.key] for d in needed), len(order))

    def _batches(
        self, rng: random.Random, needed: set[str], own: Sequence[Document], allowed: Callable[[Document], bool]
    ) -> Iterator[list[Document]]:
        """Yield the question's own distractors, then those of the pool, each in random order."""
        if own:
            yield rng.sample(own, len(own))
        taken = needed | {document.key for document in own}
        keys = rng.sample(self._pool_keys, len(self._pool_keys))
        for start in range(0, len(keys), _TRIED_AT_ONCE):
            tried = [key for key in keys[start : start + _TRIED_AT_ONCE] if key not in taken]
            batch = [
                document for document in (Document(key, self.pool.text(key)) for key in tried) if allowed(document)
            ]
            if batch:
                yield batch

    def _size(self, document: Document) -> int:
        """Return a document's tokens without its header; a text is counted once."""
        text = hash(document.text)  # not the text: it would stay in memory
        if text not in self._tokens:
            if len(self._tokens) >= _REMEMBERED:
                self._tokens.clear()
            self._tokens[text] = self.count(document.text)
        return self._tokens[text]

    def _ordered(
        self, rng: random.Random, needed: Sequence[Document], distractors: Sequence[Document], depth: float | None
    ) -> list[Document]:
        if depth is None:
            together = [*needed, *distractors]
            return rng.sample(together, len(together))
        others = rng.sample(distractors, len(distractors))
        before = list(itertools.accumulate((self._size(document) for document in others), initial=0))
        place = min(range(len(before)), key=lambda i: abs(before[i] - depth * before[-1]))
        return [*others[:place], *rng.sample(needed, len(needed)), *others[place:]]
