"""Credit by arm: each chunk of a prompt receives reward according to how much of the response it supports.

The paper gives a pull's one reward to all k chunks. With credit by arm the bandit has semi-bandit feedback (one
observation for each played arm: Chen, Wang and Yuan 2013; Kveton et al. 2015), computed from the texts.
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

# Scripts without spaces are compared by characters, all others by words.
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


class Support(Protocol):
    """Measures how much each of a record's chunks supports a response: `LexicalSupport`, `EmbeddingSupport`."""

    def of(self, response: str, arms: Sequence[int]) -> NDArray[np.float64]:
        """Return the support by each chunk of `arms`, >= 0 in any unit, [len(arms)]."""


class LexicalSupport:
    """Support by shared words, with a larger weight for words that fewer of the record's chunks contain.

    `support_i = sum over distinct words w of the response of ln(arms / df_w) [w in chunk i]`, df_w the number of the
    record's chunks with w (inverse document frequency: Sparck Jones 1972). A word in every chunk does not show
    where the answer came from, and has weight 0.

    Args:
        chunks: all the record's chunks, overlap included.
    """

    def __init__(self, chunks: Sequence[str]) -> None:
        self._words = [frozenset(words(chunk)) for chunk in chunks]
        found = Counter(word for chunk in self._words for word in chunk)
        self._weight = {word: float(np.log(len(chunks) / n)) for word, n in found.items()}

    def of(self, response: str, arms: Sequence[int]) -> NDArray[np.float64]:
        # Sorted: the last bit of a sum over a set would depend on the process's hash seed.
        said = sorted(set(words(response)) & self._weight.keys())
        return np.array([sum(self._weight[w] for w in said if w in self._words[arm]) for arm in arms], dtype=np.float64)


class EmbeddingSupport:
    """Support by cosine between response and chunk, minus the mean over the record's chunks, at least 0.

    All chunks of a document are somewhat similar to any answer about it; subtracting the mean removes that.

    Args:
        vectors: unit embeddings of all the record's chunks, [arms, dimension].
        embedder: the embedder that made them.
    """

    def __init__(self, vectors: Embeddings, embedder: Embedder) -> None:
        self._vectors = vectors
        self._embedder = embedder

    def of(self, response: str, arms: Sequence[int]) -> NDArray[np.float64]:
        cosine = (self._vectors @ self._embedder.encode([response])[0]).astype(np.float64)
        above: NDArray[np.float64] = np.maximum(cosine - cosine.mean(), 0.0)[list(arms)]
        return above


def words(text: str) -> list[str]:
    """Return the lower-case words of a text in order; for Chinese and Japanese, the characters."""
    return _WORD.findall(text.lower())


def credited(reward: float, support: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the reward of each chunk in the prompt, [k]: `reward * support_i / max support`.

    The divisor is the largest support, not the sum, so that values are in units of rewards for any k. The chunk of
    largest support gets the reward that the paper gives to all; equal support gives the paper's rule. Without any
    support, all chunks get the reward.

    Args:
        reward: reward of the response, in [0, 1].
        support: support by each chunk in the prompt, >= 0, [k].
    """
    most = support.max(initial=0.0)
    if most <= 0:
        return np.full(support.shape, float(reward))
    return reward * support / most
