"""What a preference pair is, from the strategy to the file to the tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longmab_pl.prompts.formats import Message

PairFormat = Literal["jsonl", "parquet"]


PAIR_FORMATS: tuple[PairFormat, ...] = ("jsonl", "parquet")


@dataclass(frozen=True)
class PreferencePair:
    """A chosen and a rejected answer to the full-context prompt, in TRL's conversational form with its origin.

    Args:
        id: the record's.
        pair: number of the pair within its record, from 0.
        input: the question.
        answer: the first gold answer.
        prompt: the conversation up to the assistant's turn; the same for all pairs of a record.
        chosen: the assistant's better turn.
        rejected: the worse one.
        chosen_reward: by which it was chosen, in 0..1.
        rejected_reward: likewise.
        chosen_index: its place among the record's responses, in the order they were pulled, from 0.
        rejected_index: likewise.
        chosen_pull: which pull of the bandit it came from, from 0 (a pull may give several responses).
        rejected_pull: likewise.
        chosen_arms: the chunks that were read for it.
        rejected_arms: likewise.
        chosen_ended: the model ended the answer by itself (it was not cut at `max_tokens`).
        rejected_ended: likewise.
        round: the on-policy round, from 0.
    """

    id: str
    pair: int
    input: str
    answer: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    chosen_reward: float
    rejected_reward: float
    chosen_index: int
    rejected_index: int
    chosen_pull: int
    rejected_pull: int
    chosen_arms: tuple[int, ...]
    rejected_arms: tuple[int, ...]
    chosen_ended: bool
    rejected_ended: bool
    round: int

    @property
    def name(self) -> str:
        """Unique in its round: the record's id, and for further pairs of it their number."""
        return f"{self.id}#{self.pair}" if self.pair else self.id

    @property
    def chosen_text(self) -> str:
        return self.chosen[0]["content"]

    @property
    def rejected_text(self) -> str:
        return self.rejected[0]["content"]
