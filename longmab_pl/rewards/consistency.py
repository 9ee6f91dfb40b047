"""The consistency reward: agreement of an answer with the other answers to its question (SeaLong)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from longmab_pl.checks import one_of
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.base import RewardContext, Score
from longmab_pl.rewards.rouge import rouge_l

Similarity = Literal["embedding", "rouge"]
ConsistencyStyle = Literal["siblings", "original"]


@dataclass(frozen=True)
class Consistency:
    """Scores an answer by its agreement with the other answers to its question: needs no gold answer and no judge.

    The value is the mean similarity to the other answers (minimum Bayes risk): answers that most others agree with are
    likely right. It sends no requests to an engine. A single answer is excluded, because it has no others to agree
    with. Empty answers are excluded and not compared with others.

    Args:
        similarity: `embedding`: cosine of sentence embeddings, -1 to 1; `rouge`: ROUGE-L F1, 0 to 1.
        style: `siblings` leaves out an answer's similarity to itself; `original` includes it, as the program does.

    Example:
        >>> Consistency(similarity="rouge").needs_embedder
        False

    Source: SeaLong (arXiv:2411.08147), section 3.2.
    """

    name: ClassVar[str] = "consistency"
    engines: ClassVar[tuple[str, ...]] = ()
    fewest_together: ClassVar[int] = 2

    similarity: Similarity = "embedding"
    style: ConsistencyStyle = "siblings"

    def __post_init__(self) -> None:
        one_of("reward.similarity", self.similarity, ("embedding", "rouge"))
        one_of("reward.style", self.style, ("siblings", "original"))

    @property
    def needs_embedder(self) -> bool:
        return self.similarity == "embedding"

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        yield from ()  # a generator without requests
        texts = [without_thought(text).strip() for text in responses]
        said = [i for i, text in enumerate(texts) if text]
        if len(said) < 2:
            return [Score(0.0, excluded="no other answer to agree with") for _ in texts]
        values = dict(zip(said, self._values([texts[i] for i in said], context).tolist(), strict=True))
        return [
            Score(values[i], {"similarity": values[i]}) if i in values else Score(0.0, excluded="an empty answer")
            for i in range(len(texts))
        ]

    def _values(self, texts: list[str], context: RewardContext) -> NDArray[np.float64]:
        if self.similarity == "embedding":
            return consistency_scores(context.embedder.encode(texts), self.style)
        matrix = np.array([[rouge_l(a, b).f1 for b in texts] for a in texts])
        return matrix.mean(axis=1) if self.style == "original" else sibling_means(matrix)


def consistency_scores(embeddings: ArrayLike, style: ConsistencyStyle = "siblings") -> NDArray[np.float64]:
    """Return each answer's mean similarity to the other answers of its group (minimum Bayes risk).

    `style="siblings"` (default): cosine without an answer's similarity to itself, so that vectors of any length and
    groups of any size have the same scale, -1 to 1. `style="original"`: dot products of the given vectors, including an
    answer's product with itself.

    Args:
        embeddings: one vector per answer, [answers, dimension].
        style: `siblings` or `original`, see above.

    Returns:
        float64 [answers]; 0 for a single answer (`original`: its own square).

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
    one_of("style", style, ("siblings", "original"))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms == 0, 1.0, norms)
    return sibling_means(unit @ unit.T)


def sibling_means(similarities: ArrayLike) -> NDArray[np.float64]:
    """Return the mean of each row of a similarity matrix without its diagonal, [answers]; 0 for a single answer.

    Args:
        similarities: similarity of each answer to each other, [answers, answers], of any kind.

    Example:
        >>> sibling_means([[1.0, 0.2], [0.2, 1.0]])
        array([0.2, 0.2])
    """
    matrix = np.array(similarities, dtype=np.float64)
    np.fill_diagonal(matrix, 0.0)
    return matrix.sum(axis=1) / max(len(matrix) - 1, 1)
