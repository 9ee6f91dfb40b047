"""Conversations as token ids in which every assistant's turn keeps the ids that were sampled.

A chat template that is applied to the text of a finished turn may write other tokens than the model sampled: another
split of the same characters, a stripped space, a thought that is left out. Here only the parts between the turns come
from the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longmab_pl.errors import DataError
from longmab_pl.prompts import encoding
from longmab_pl.prompts.encoding import Arguments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASSISTANT = "assistant"


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation.

    Args:
        role: `system`, `user` or `assistant`.
        text: what it says.
        token_ids: of an assistant's turn, the sampled token ids with a sampled end token; empty: `text` is tokenized.
        ended: of an assistant's turn, whether the model ended it (False: cut at `max_tokens`).
    """

    role: str
    text: str
    token_ids: tuple[int, ...] = ()
    ended: bool = True

    @property
    def message(self) -> dict[str, str]:
        """The turn as a message."""
        return {"role": self.role, "content": self.text}

    def to_json(self) -> dict[str, Any]:
        """Return the turn as JSON values."""
        return {"role": self.role, "text": self.text, "token_ids": list(self.token_ids), "ended": self.ended}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Turn:
        """Return the turn of a row made by `to_json`. Raises `KeyError` or `TypeError` for another object."""
        return cls(row["role"], row["text"], tuple(row["token_ids"]), row["ended"])


def system(text: str) -> Turn:
    """Return a system turn."""
    return Turn("system", text)


def user(text: str) -> Turn:
    """Return a user's turn."""
    return Turn("user", text)


def assistant(text: str, token_ids: Sequence[int] = (), ended: bool = True) -> Turn:
    """Return an assistant's turn."""
    return Turn(ASSISTANT, text, tuple(token_ids), ended)


@dataclass(frozen=True)
class Transcript:
    """A conversation as token ids.

    Args:
        ids: all token ids. If the last turn is a user's, they end with the header of the assistant's next turn.
        spans: token range [start, end) of each assistant's turn, its end token included if the model ended it.
        head: number of ids before the first assistant's turn; all of them without one.

    Example:
        >>> asked = [user("Capital of Peru?")]
        >>> prompt = transcript(tokenizer, asked).ids
        >>> answered = transcript(tokenizer, [*asked, assistant("Lima", token_ids=(61, 2)), user("And of Chile?")])
        >>> answered.ids[: len(prompt) + 2] == (*prompt, 61, 2)
        True
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    head: int


def transcript(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], arguments: Arguments | None = None
) -> Transcript:
    """Return the token ids of a conversation.

    The ids of a conversation that goes on begin with those of its beginning, so an engine's prefix cache holds them.

    Args:
        tokenizer: a tokenizer with a chat template.
        turns: a user's turn before each assistant's; the system's first.
        arguments: further variables of the chat template, as for `encoding.chat`.

    Raises:
        TemplateError: the template refuses the conversation.
        DataError: an assistant's turn follows another or has no token, or there is no user's turn first.
    """
    first = next((i for i, turn in enumerate(turns) if turn.role == ASSISTANT), len(turns))
    if not first:
        raise DataError("a conversation begins with the assistant; it needs a user's turn first")
    ids = list(encoding.chat(tokenizer, [turn.message for turn in turns[:first]], arguments=arguments).ids)
    head = len(ids)
    spans = []
    at = first
    while at < len(turns):
        turn = turns[at]
        following = next((i for i in range(at + 1, len(turns)) if turns[i].role == ASSISTANT), len(turns))
        if following == at + 1 < len(turns):
            raise DataError("an assistant's turn follows another; a user's turn must be between them")
        own = turn.token_ids or encoding.plain(tokenizer, turn.text, start=False).ids
        if not own:
            raise DataError("an assistant's turn is empty; leave the conversation out")
        gap = encoding.after_turn(tokenizer, [t.message for t in turns[at + 1 : following]], arguments)
        closed = encoding.is_control(tokenizer, own[-1])
        end = () if gap.end is None or closed else (gap.end,)
        spans.append((len(ids), len(ids) + len(own) + (len(end) if turn.ended else 0)))
        ids += [*own, *end, *gap.rest]
        at = following
    if turns[-1].role == ASSISTANT:  # what the template writes after the last turn is not part of it
        del ids[spans[-1][1] :]
    return Transcript(tuple(ids), tuple(spans), head)
