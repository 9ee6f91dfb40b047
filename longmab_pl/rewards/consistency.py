"""Consistency without labels: how much an answer agrees with the other answers to its question (SeaLong)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from longmab_pl.errors import ConfigError

ConsistencyStyle = Literal["siblings", "original"]


def consistency_scores(embeddings: ArrayLike, style: ConsistencyStyle = "siblings") -> NDArray[np.float64]:
    """Return each answer's mean similarity to the other answers of its group (minimum Bayes risk).

    `style="siblings"` (default): cosine, an answer's similarity to itself left out, so that vectors of any length and
    groups of any size are on one scale, -1 to 1. `style="original"`: dot products of the vectors as they are, an
    answer's own included.

    Args:
        embeddings: one vector an answer, [answers, dimension].
        style: see above.

    Returns:
        float64 [answers]; a single answer has nothing to agree with and gets 0 (`original`: its own square).

    Raises:
        ConfigError: an unknown style.

    Example:
        >>> consistency_scores([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        array([0.5, 0.5, 0. ])

    Source: SeaLong (arXiv:2411.08147), section 3.2, eq. 3.
    """
    vectors = np.asarray(embeddings, dtype=np.float64)
    if style == "original":
        return (vectors @ vectors.T).mean(axis=1)
    if style != "siblings":
        raise ConfigError(f"consistency style is {style!r}; use 'siblings' or 'original'")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms == 0, 1.0, norms)
    return sibling_means(unit @ unit.T)


def sibling_means(similarities: ArrayLike) -> NDArray[np.float64]:
    """Return the mean of each row of a similarity matrix without its diagonal, [answers]; 0 for a single answer.

    Args:
        similarities: of each answer to each other, [answers, answers], by embeddings, ROUGE or anything else.

    Example:
        >>> sibling_means([[1.0, 0.2], [0.2, 1.0]])
        array([0.2, 0.2])
    """
    matrix = np.array(similarities, dtype=np.float64)
    np.fill_diagonal(matrix, 0.0)
    return matrix.sum(axis=1) / max(len(matrix) - 1, 1)
