"""The socket for pair rules: which of a record's responses are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from longmab_pl.data.records import QARecord
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.strategies.base import RecordRollout


@dataclass(frozen=True)
class PairContext:
    """What pair rules work with.

    Args:
        tokenizer: the policy's.
        prompt_format: how the training prompt is made of a context and a question.
        primary: name of the run's first reward.
        seed: contains the round, so that rounds choose differently among equals.
        round: the on-policy round, from 0.
    """

    tokenizer: Any
    prompt_format: PromptFormat
    primary: str
    seed: int
    round: int

    def count(self, text: str) -> int:
        """Return the tokens of a text, without any that the tokenizer adds."""
        return len(encoding.text_tokenizer(self.tokenizer, text).encode(text, add_special_tokens=False))


@runtime_checkable
class PairRule(Protocol):
    """Makes preference pairs of a record's responses. Implementations are frozen dataclasses, such as `BestWorst`.

    A rule reads stored scores and asks nobody, so that `longmab pairs` can make a round's pairs again by another rule
    without a judge.
    """

    @property
    def max_prompt_length(self) -> int:
        """Tokens for the training prompt and its longest answer together."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the rewards that it reads; empty for the primary alone."""

    def pairs(self, record: QARecord, rollout: RecordRollout, context: PairContext) -> list[PreferencePair]:
        """Return the record's pairs; none if its responses do not differ enough.

        Raises:
            DataError: the answers leave no room for the context; the record costs no other.
        """
