"""What a rollout strategy is: one generator per record that asks the engine and ends with the record's responses."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.models.embedder import Embedder
from longmab_pl.prompts.formats import PromptFormat

R = TypeVar("R")


RequestStream = Generator[list[Request], list[Completion], R]
"""A strategy at work on one record: yields requests, receives their completions (same order), returns its result."""


@dataclass(frozen=True)
class Response:
    """One sampled answer.

    Args:
        text: the assistant's whole turn.
        ended: the model ended it by itself (False: cut at `max_tokens`).
        pull: which round of the strategy it came from, from 0.
        arms: indices of the chunks that its prompt showed.
        reward: the reward that the strategy learned from.
    """

    text: str
    ended: bool
    pull: int
    arms: tuple[int, ...]
    reward: float


@dataclass(frozen=True)
class RecordRollout:
    """All that a strategy got for one record.

    Args:
        record_id: the record.
        status: `ok`, or why there are no responses (`probe_rejected`).
        responses: in the order of the pulls.
        arms: number of chunks.
        pulls: how often each was played, [arms].
        values: the bandit's final estimates, [arms].
        evidence: 1 for chunks that contain a gold answer verbatim, [arms]: for reports only, no policy sees it.
        probe: how the initial values were made: `probe`, `query` or `uniform`.
        stopped: why it ended before its pulls were over: `separated`, `no_signal`, or "" where it did not.
    """

    record_id: str
    status: str
    responses: tuple[Response, ...] = ()
    arms: int = 0
    pulls: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    evidence: tuple[int, ...] = ()
    probe: str = ""
    stopped: str = ""


@dataclass(frozen=True)
class StrategyContext:
    """What strategies work with. `seed` already contains the round, so that rounds sample differently."""

    tokenizer: Any
    prompt_format: PromptFormat
    embedder: Embedder
    max_model_len: int
    seed: int


@runtime_checkable
class Strategy(Protocol):
    """Decides what to ask next. Deterministic given the record, the seed and the completions."""

    def roll(self, record: QARecord, tools: StrategyContext) -> RequestStream[RecordRollout]:
        """Work on one record."""

    def expected_responses(self) -> int:
        """Most responses one record can ask for (probe included), for progress and budgets."""

    def needed_model_len(self) -> int:
        """Tokens of the longest prompt of its usual kind plus its response; a model that takes fewer cannot be used."""
