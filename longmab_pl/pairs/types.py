"""What a preference pair is, from the strategy to the file to the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Message = Mapping[str, Any]
Span = tuple[int, int]

PairFormat = Literal["jsonl", "parquet"]


PAIR_FORMATS: tuple[PairFormat, ...] = ("jsonl", "parquet")


@dataclass(frozen=True)
class PairOrigin:
    """How a rollout came to a pair.

    Args:
        pair: number of the pair within its record, from 0.
        input: the question.
        answer: the first gold answer.
        chosen_index: its place among the record's responses, in the order they were pulled, from 0.
        rejected_index: likewise.
        chosen_step: which step of the strategy it came from (a pull of the bandit), from 0.
        rejected_step: likewise.
        chosen_read: what was read for it (indices of chunks); empty: the whole context.
        rejected_read: likewise.
        round: the on-policy round, from 0.
    """

    pair: int
    input: str
    answer: str
    chosen_index: int
    rejected_index: int
    chosen_step: int
    rejected_step: int
    chosen_read: tuple[int, ...]
    rejected_read: tuple[int, ...]
    round: int


@dataclass(frozen=True)
class PreferencePair:
    """One prompt with a better and a worse answer, as text.

    Args:
        id: the record's, or the row's; pairs of one record share it.
        prompt: messages (`role`, `content`, and what else the chat template reads) up to the assistant's turn, or the
            text itself, to which no chat template is applied.
        chosen: what follows: the text of the assistant's better turn, or the text's better continuation.
        rejected: the worse one.
        chosen_reward: the score by which it won, 0 where the data has none.
        rejected_reward: likewise.
        chosen_ended: the answer ended by itself, so that its end is learned too (False: cut at a length limit).
        rejected_ended: likewise.
        chosen_mask: characters [start, end) of `chosen` that are compared, the rest is only read (step-wise
            preferences: one block of a longer answer); None: all of it.
        rejected_mask: likewise.
        chosen_ids: the token ids that were sampled for `chosen`, behind the chat template's last header and with what
            the assistant's turn was prefilled with; an end token may stand at their end. None: `chosen` is tokenized.
        rejected_ids: likewise.
        tools: functions that the chat template describes to the model, as JSON schemas.
        prompt_id: which prompt it is where the data says so; validation is split by it.
        origin: how a rollout came to it; None for pairs from elsewhere.
        where: file and line it was read from.

    Example:
        >>> PreferencePair("q1", ({"role": "user", "content": "Capital of Peru?"},), "Lima", "Quito").name
        'q1'
    """

    id: str
    prompt: tuple[Message, ...] | str
    chosen: str
    rejected: str
    chosen_reward: float = 0.0
    rejected_reward: float = 0.0
    chosen_ended: bool = True
    rejected_ended: bool = True
    chosen_mask: Span | None = None
    rejected_mask: Span | None = None
    chosen_ids: tuple[int, ...] | None = None
    rejected_ids: tuple[int, ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    prompt_id: str = ""
    origin: PairOrigin | None = None
    where: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """Unique in its round: the record's id, and for further pairs of it their number."""
        return f"{self.id}#{self.origin.pair}" if self.origin is not None and self.origin.pair else self.id
