"""The protocol for pair rules, which choose the compared responses of a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from longmab_pl.data.records import QARecord
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.strategies.base import RecordRollout


def _ignore(reason: str) -> None:
    """Ignore why a record has no pair."""


@dataclass(frozen=True)
class PairContext:
    """Inputs of pair rules beside the record and its responses.

    Args:
        tokenizer: the policy's tokenizer.
        prompt_format: format of the training prompt.
        primary: name of the run's first reward.
        seed: seed that depends on the round, so that rounds choose differently between equal responses.
        round: the on-policy round, from 0.
        skip: function that a rule calls with the reason why a record has no pair (`same_answer`), if it counts them:
            the round's metric `pairs/skipped_<reason>`.
    """

    tokenizer: Any
    prompt_format: PromptFormat
    primary: str
    seed: int
    round: int
    skip: Callable[[str], None] = _ignore

    def count(self, text: str) -> int:
        """Return the number of tokens of a text, without those that the tokenizer adds."""
        return len(encoding.text_tokenizer(self.tokenizer, text).encode(text, add_special_tokens=False))


@runtime_checkable
class PairRule(Protocol):
    """Makes preference pairs of a record's responses. Implementations are frozen dataclasses, such as `BestWorst`.

    A rule reads stored scores and sends no requests, so that `longmab pairs` can rebuild a round's pairs by another
    rule without a judge.
    """

    @property
    def max_prompt_length(self) -> int:
        """Maximum length of the training prompt and its longest answer together, in tokens."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the rewards that it reads; empty for the primary only."""

    def pairs(self, record: QARecord, rollout: RecordRollout, context: PairContext) -> list[PreferencePair]:
        """Return the record's pairs; none if its responses do not differ enough.

        Raises:
            DataError: the answers leave no room for the context; other records are unaffected.
        """
