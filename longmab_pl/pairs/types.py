"""Types of preference pairs and demonstrations, shared by pair rules, files and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from longmab_pl.prompts.transcript import ASSISTANT, Turn

Message = Mapping[str, Any]
Span = tuple[int, int]

PairFormat = Literal["jsonl", "parquet"]


PAIR_FORMATS: tuple[PairFormat, ...] = ("jsonl", "parquet")


@dataclass(frozen=True)
class PairOrigin:
    """Origin of a pair in a rollout.

    Args:
        pair: number of the pair within its record, from 0.
        input: the question.
        answer: the first gold answer.
        chosen_index: index of the chosen response among the record's responses, in the order of pulls, from 0.
        rejected_index: index of the rejected response.
        chosen_step: step of the strategy that sampled the chosen response (a pull of the bandit), from 0.
        rejected_step: step of the rejected response.
        chosen_read: indices of the chunks in the chosen response's rollout prompt; empty: the whole context.
        rejected_read: indices of the chunks for the rejected response.
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
class ScoredResponse:
    """One of all responses of a record.

    Args:
        text: text of the assistant's turn.
        reward: its score.
        ended: whether the model ended it, see `PreferencePair.chosen_ended`.
        ids: its sampled token ids, see `PreferencePair.chosen_ids`.
        on_prompt: whether it was sampled from the pair's prompt itself, and not from chunks of the context.
    """

    text: str
    reward: float
    ended: bool = True
    ids: tuple[int, ...] | None = None
    on_prompt: bool = False


@dataclass(frozen=True)
class Answer:
    """One answer to a prompt, as text.

    Args:
        text: text of the assistant's turn, or the continuation of a plain text.
        ended: whether the model ended it, so that its end is trained (False: cut at a length limit).
        mask: characters [start, end) of `text` that count; None: all of it.
        ids: the sampled token ids, see `PreferencePair.chosen_ids`; None: `text` is tokenized.
        turns: of the rest of a conversation, its turns, see `PreferencePair.chosen_turns`.
    """

    text: str
    ended: bool = True
    mask: Span | None = None
    ids: tuple[int, ...] | None = None
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class PreferencePair:
    """One prompt with a better and a worse answer, as text.

    Args:
        id: id of the record or row; pairs of one record share it.
        prompt: messages (`role`, `content`, and other fields of the chat template) up to the assistant's turn, or a
            plain text, used without a chat template.
        chosen: text of the better assistant turn, or the better continuation of a plain text.
        rejected: text of the worse one.
        chosen_reward: score of `chosen`, 0 if the data has none.
        rejected_reward: score of `rejected`, 0 if the data has none.
        chosen_ended: whether the model ended the answer, so that its end is trained (False: cut at a length limit).
        rejected_ended: the same for `rejected`.
        chosen_mask: characters [start, end) of `chosen` that are compared; the rest is only context (step-wise
            preferences: one block of a longer answer). None: all of it.
        rejected_mask: the same for `rejected`.
        chosen_ids: the sampled token ids of `chosen`, after the chat template's last header, with any prefill of the
            assistant's turn and possibly an end token. None: `chosen` is tokenized.
        rejected_ids: the same for `rejected`.
        chosen_turns: where the answer is the rest of a conversation, its turns from the assistant's first to the
            assistant's last; `chosen` is then the assistant's texts, and the ids are those of the turns. Empty: one
            turn, `chosen`.
        rejected_turns: the same for `rejected`.
        shared_turns: number of turns that both conversations begin with and that are only context.
        imitated: whether supervised fine-tuning imitates the chosen answer.
        shared_ids: the first so many token ids of both answers are earlier blocks: the same in both, and part of the
            prompt in training. It counts where `chosen_ids` and `rejected_ids` are given, in place of the masks.
        tools: functions that the chat template describes to the model, as JSON schemas.
        prompt_id: id of the prompt, if the data has one; validation is split by it.
        short_prompt: the prompt that the chosen answer was sampled from, where it is another than `prompt`: the chunks
            that a bandit chose, in place of the whole context. None: there is none, or it is not known.
        group: all scored responses of the record, for group losses; empty: only the two are known.
        origin: origin in a rollout; None for other pairs.
        where: file and line of the row.

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
    chosen_turns: tuple[Turn, ...] = ()
    rejected_turns: tuple[Turn, ...] = ()
    shared_turns: int = 0
    imitated: bool = True
    shared_ids: int = 0
    tools: tuple[Mapping[str, Any], ...] = ()
    prompt_id: str = ""
    short_prompt: tuple[Message, ...] | str | None = None
    group: tuple[ScoredResponse, ...] = ()
    origin: PairOrigin | None = None
    where: str = field(default="", compare=False)

    noun: ClassVar[str] = "pair"

    @classmethod
    def of_conversations(
        cls,
        id: str,
        prompt: tuple[Message, ...],
        chosen: Sequence[Turn],
        rejected: Sequence[Turn],
        **rest: Any,
    ) -> PreferencePair:
        """Return a pair of two conversations after one prompt, see `chosen_turns`.

        Args:
            id: id of the record or row.
            prompt: messages up to the assistant's first turn.
            chosen: turns of the better conversation.
            rejected: turns of the worse one.
            rest: other fields.
        """
        return cls(
            id,
            prompt,
            _said(chosen),
            _said(rejected),
            chosen_ended=chosen[-1].ended,
            rejected_ended=rejected[-1].ended,
            chosen_turns=tuple(chosen),
            rejected_turns=tuple(rejected),
            **rest,
        )

    @property
    def name(self) -> str:
        """Name that is unique in the round: the record's id, with the pair's number for further pairs."""
        return _unique_name(self.id, self.origin)

    @property
    def answers(self) -> tuple[Answer, Answer]:
        """The better and the worse answer."""
        return (
            Answer(self.chosen, self.chosen_ended, self.chosen_mask, self.chosen_ids, self.chosen_turns),
            Answer(self.rejected, self.rejected_ended, self.rejected_mask, self.rejected_ids, self.rejected_turns),
        )


@dataclass(frozen=True)
class Demonstration:
    """One prompt with one answer to imitate, as text: an example of supervised fine-tuning.

    Args:
        id: id of the record or row.
        prompt: as in `PreferencePair`.
        answer: the answer.
        shared_turns: as in `PreferencePair`.
        shared_ids: as in `PreferencePair`.
        tools: as in `PreferencePair`.
        prompt_id: as in `PreferencePair`.
        origin: as in `PreferencePair`.
        where: file and line of the row.

    Example:
        >>> Demonstration("q1", ({"role": "user", "content": "Capital of Peru?"},), Answer("Lima")).name
        'q1'
    """

    id: str
    prompt: tuple[Message, ...] | str
    answer: Answer
    shared_turns: int = 0
    shared_ids: int = 0
    tools: tuple[Mapping[str, Any], ...] = ()
    prompt_id: str = ""
    origin: PairOrigin | None = None
    where: str = field(default="", compare=False)

    noun: ClassVar[str] = "row"

    @classmethod
    def of(cls, pair: PreferencePair) -> Demonstration:
        """Return the better answer of a pair, without the worse one."""
        chosen, _ = pair.answers
        return cls(
            pair.id,
            pair.prompt,
            chosen,
            pair.shared_turns,
            pair.shared_ids,
            pair.tools,
            pair.prompt_id,
            pair.origin,
            pair.where,
        )

    @property
    def name(self) -> str:
        """Name that is unique in the round, see `PreferencePair.name`."""
        return _unique_name(self.id, self.origin)

    @property
    def answers(self) -> tuple[Answer]:
        """The answer, by itself."""
        return (self.answer,)


def _unique_name(name: str, origin: PairOrigin | None) -> str:
    return f"{name}#{origin.pair}" if origin is not None and origin.pair else name


def _said(turns: Sequence[Turn]) -> str:
    """Return the texts of the assistant's turns, with blank lines between them."""
    return "\n\n".join(turn.text for turn in turns if turn.role == ASSISTANT)
