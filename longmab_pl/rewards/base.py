"""The protocol for rewards, which score responses with or without gold answers or a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from longmab_pl.data.records import QARecord
from longmab_pl.engines.addressee import Addressee
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.errors import ConfigError
from longmab_pl.models.embedder import Embedder

BUDGET_USED_UP = "budget used up"
"""Part of the reason of an exclusion, if the budget of an engine (`data.engines.<name>.budget`) left no room."""


@dataclass(frozen=True)
class Score:
    """The score of one response.

    Args:
        value: number that pairs compare, in [0, 1] unless the reward documents another range.
        parts: named components of the value, for reports and for strategies that learn from one of them.
        excluded: why the response is not used in pairs (a judge gave no verdict); None: it is used.
        notes: texts that explain the value, such as a judge's analysis per dimension.
    """

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    excluded: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RewardContext:
    """Inputs of rewards beside the record and its responses.

    Args:
        tokenizer: the policy's tokenizer; those of other engines are in `addressees`.
        embedder: the embedder, loaded if the reward's `needs_embedder` is true.
        seed: seed that depends on the round, so that rounds sample differently.
        key: unique key of this call of `score`; request ids begin with it.
        addressees: the run's engines by name, as requests see them.
        written: beginning that all responses share: the earlier blocks of a text whose next block is scored; "" for
            whole answers.
    """

    tokenizer: Any
    embedder: Embedder
    seed: int
    key: str
    addressees: Mapping[str, Addressee] = field(default_factory=dict)
    written: str = ""

    def addressee(self, engine: str) -> Addressee:
        """Return chat format and limits of an engine of the run.

        Raises:
            ConfigError: the run has no engine of this name.
        """
        if engine not in self.addressees:
            known = ", ".join(self.addressees) or "none"
            raise ConfigError(f"the run has no engine named {engine!r} (it has {known}); add it to data.engines")
        return self.addressees[engine]

    def under(self, name: str) -> RewardContext:
        """Return the context for a part of the reward, with separate request ids."""
        return replace(self, key=f"{self.key}/{name}")


class Reward(Protocol):
    """Scores responses to one record together. Implementations are frozen dataclasses: their settings are written down.

    `AnswerMatch` compares with gold answers without requests. `LLMJudge` yields requests to an engine, as a strategy
    does: they are scheduled and journaled like all others, so nothing is judged twice.

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
        ...         yield  # a generator without requests
    """

    @property
    def name(self) -> str:
        """Name of its scores in files; unique among the rewards of a run."""

    @property
    def engines(self) -> tuple[str, ...]:
        """Names of the engines that it sends requests to (`judge`, ...); empty for none."""

    @property
    def needs_embedder(self) -> bool:
        """Whether `context.embedder` must be loaded."""

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        """Score responses to a record.

        Args:
            record: the question with its context and, if any, gold answers.
            responses: the assistant's whole turns.
            context: tokenizer, embedder, seed, and the key that request ids begin with.

        Returns:
            A generator that yields lists of requests, receives their completions in the same order, and returns one
            score per response.
        """


@runtime_checkable
class ComparingReward(Protocol):
    """A reward that compares responses with one another, and so needs several in one call of `score`.

    A run whose strategy scores fewer responses together is refused before anything is asked.
    """

    @property
    def fewest_together(self) -> int:
        """Minimum number of responses in one call of `score`."""


@runtime_checkable
class GroundedReward(Protocol):
    """A reward that may need prompts with numbered passages.

    A run whose prompt format does not number them (`longmab_pl.prompts.CiteThenAnswer` does) is refused before anything
    is asked.
    """

    @property
    def needs_numbered_passages(self) -> bool:
        """Whether responses can only be scored if the prompt numbered the passages."""
