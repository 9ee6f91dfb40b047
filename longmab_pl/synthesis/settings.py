"""How questions are written from documents and checked."""

from __future__ import annotations

from dataclasses import dataclass

from longmab_pl.checks import at_least, unit_interval
from longmab_pl.engines.protocol import Sampling


@dataclass(frozen=True)
class QuestionSettings:
    """Settings of questions that a model writes about chunks of documents.

    Args:
        chunk_size: tokens of a chunk; a context is made of chunks.
        samples: questions written about each chunk.
        answers: answers sampled to a kept question with its chunk, and as many without it.
        agreement: least share of the answers from the chunk that hold the question's own answer.
        known: share of the answers without the chunk from which a question counts as known without it.
        similarity: share of equal words, as F1, from which two questions about the same chunk or with the same answer
            are near-duplicates.
        max_answer_words: longest answer, in words.
        temperature: temperature at which questions are written.
        seed: seed of all sampling and draws.

    Raises:
        ConfigError: a setting is out of range.
    """

    chunk_size: int = 200
    samples: int = 8
    answers: int = 4
    agreement: float = 0.5
    known: float = 0.25
    similarity: float = 0.8
    max_answer_words: int = 8
    temperature: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("chunk_size", self.chunk_size, 16)
        at_least("samples", self.samples, 1)
        at_least("answers", self.answers, 1)
        unit_interval("agreement", self.agreement, "it is a share above 0, up to 1", zero=False)
        unit_interval("known", self.known, "it is a share above 0, up to 1", zero=False)
        unit_interval("similarity", self.similarity, "it is a share above 0, up to 1", zero=False)
        at_least("max_answer_words", self.max_answer_words, 1)
        _ = self.writing

    @property
    def writing(self) -> Sampling:
        """Sampling of questions."""
        return Sampling(temperature=self.temperature, top_p=0.95, presence_penalty=0.0, max_tokens=96)

    @property
    def answering(self) -> Sampling:
        """Sampling of answers."""
        return Sampling(temperature=0.7, top_p=0.95, presence_penalty=0.0, max_tokens=32)
