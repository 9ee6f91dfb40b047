"""Credit by arm: how much of a response each chunk that was read supports, and so how much of its reward each gets.

The paper copies a pull's one reward to all k chunks. With credit by arm the bandit has semi-bandit feedback (one
observation for each played arm: Chen, Wang and Yuan 2013; Kveton et al. 2015), made from the texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from longmab_pl.models.embedder import Embedder, Embeddings

Credit = Literal["shared", "lexical", "embedding"]

# Scripts without spaces are compared character by character, all others word by word.
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


class Support(Protocol):
    """Measures how much of a response stands in each of a record's chunks."""

    def of(self, response: str, arms: Sequence[int]) -> NDArray[np.float64]:
        """Support by each chunk of `arms`, >= 0 in any unit, [len(arms)]."""


class LexicalSupport:
    """The words of the response that a chunk contains, each weighted by how few of the record's chunks contain it.

    `support_i = sum over distinct words w of the response of ln(arms / df_w) [w in chunk i]`, df_w the number of the
    record's chunks with w (inverse document frequency: Sparck Jones 1972). A word of every chunk says nothing about
    where the answer came from, and weighs nothing.

    Args:
        chunks: all the record's chunks, overlap included.
    """

    def __init__(self, chunks: Sequence[str]) -> None:
        self._words = [frozenset(words(chunk)) for chunk in chunks]
        found = Counter(word for chunk in self._words for word in chunk)
        self._weight = {word: float(np.log(len(chunks) / n)) for word, n in found.items()}

    def of(self, response: str, arms: Sequence[int]) -> NDArray[np.float64]:
        # Sorted: a sum over a set would follow the process's hash seed in its last bit.
        said = sorted(set(words(response)) & self._weight.keys())
        return np.array([sum(self._weight[w] for w in said if w in self._words[arm]) for arm in arms], dtype=np.float64)


class EmbeddingSupport:
    """Cosine between response and chunk, above the mean over the record's chunks; below it there is no support.

    Chunks of one document are all somewhat like any answer about it: what they have in common is taken off.

    Args:
        vectors: unit embeddings of all the record's chunks, [arms, dimension].
        embedder: what they were made with.
    """

    def __init__(self, vectors: Embeddings, embedder: Embedder) -> None:
        self._vectors = vectors
        self._embedder = embedder

    def of(self, response: str, arms: Sequence[int]) -> NDArray[np.float64]:
        cosine = (self._vectors @ self._embedder.encode([response])[0]).astype(np.float64)
        above: NDArray[np.float64] = np.maximum(cosine - cosine.mean(), 0.0)[list(arms)]
        return above


def words(text: str) -> list[str]:
    """Lower-cased words of a text in order; of Chinese and Japanese, characters."""
    return _WORD.findall(text.lower())


def credited(reward: float, support: NDArray[np.float64]) -> NDArray[np.float64]:
    """The reward of each chunk that was read, [k]: `reward * support_i / max support`.

    Divided by the largest support and not by the sum, so that values stay in the unit of rewards, whatever k: the
    chunk with most of the support gets the reward that the paper gives to all, and equal support is the paper's rule.
    Without any support there is nothing to tell the chunks apart by, and all get the reward. A reward of 0 stays 0.

    Args:
        reward: of the response, in [0, 1].
        support: of each chunk that was read, >= 0, [k].
    """
    most = support.max(initial=0.0)
    if most <= 0:
        return np.full(support.shape, float(reward))
    return reward * support / most
