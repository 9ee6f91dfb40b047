"""The socket for rewards: how an answer is scored, by any rule, with or without a gold answer or a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.models.embedder import Embedder


@dataclass(frozen=True)
class Score:
    """The score of one response.

    Args:
        value: what pairs compare, in [0, 1] where a rule does not say otherwise.
        parts: named numbers that the value was made of, for reports and for strategies that learn from one of them.
        excluded: why the response takes no part in pairs (a judge that gave no verdict); None: it does.
        notes: texts that explain the value, such as a judge's analysis by dimension.
    """

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    excluded: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RewardContext:
    """What rewards work with.

    Args:
        tokenizer: the policy's.
        embedder: loaded if the reward says `needs_embedder`.
        seed: contains the round, so that rounds sample differently.
        key: unique for this call of `score`; ids of requests begin with it.
    """

    tokenizer: Any
    embedder: Embedder
    seed: int
    key: str

    def under(self, name: str) -> RewardContext:
        """Return the context of a part of the reward, whose requests have ids of their own."""
        return replace(self, key=f"{self.key}/{name}")


class Reward(Protocol):
    """Scores responses to one record together. Implementations are frozen dataclasses: their settings are written down.

    `AnswerMatch` compares with gold answers and asks nobody. A reward that asks an engine yields requests, as a
    strategy does: they are scheduled and journaled like any other, so nothing is judged twice.

    Example:
        >>> @dataclass(frozen=True)
        ... class Short:
        ...     limit: int = 50
        ...     name = "short"
        ...     engines: tuple[str, ...] = ()
        ...     needs_embedder = False
        ...
        ...     def score(self, record, responses, context):
        ...         return [Score(float(len(text) <= self.limit)) for text in responses]
        ...         yield  # a generator that asks nobody
    """

    @property
    def name(self) -> str:
        """What its scores are called in files; unique among the rewards of a run."""

    @property
    def engines(self) -> tuple[str, ...]:
        """Names of the engines that it asks (`judge`, ...); empty for none."""

    @property
    def needs_embedder(self) -> bool:
        """Whether `context.embedder` must be loaded."""

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        """Score responses to a record.

        Args:
            record: the question with its context and, where there are any, gold answers.
            responses: the assistant's whole turns.
            context: tools, seed, and the key that ids of requests begin with.

        Returns:
            A generator that yields lists of requests, receives their completions in the same order, and returns one
            score per response.
        """
