"""Tokenization of conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.errors import DataError
from longmab_pl.pairs.types import Demonstration, PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.prompts.encoding import Arguments
from longmab_pl.prompts.transcript import Transcript, Turn, transcript
from longmab_pl.training.left_out import LeftOut, longest, named, refuse_equal, too_long
from longmab_pl.training.prefix_tree import Completion, Ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def conversation_tokens(
    row: PreferencePair | Demonstration,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    arguments: Arguments | None,
) -> tuple[Ids, list[Completion]]:
    """Return the tokens of conversations; the ids of every turn are those that were sampled."""
    assert not isinstance(row.prompt, str)
    before = [Turn(message["role"], message["content"]) for message in row.prompt]
    try:
        sides = [transcript(tokenizer, [*before, *answer.turns], arguments) for answer in row.answers]
    except encoding.TemplateError as error:
        raise LeftOut("that the chat template refuses", f"{named(row)}: {error}") from error
    except DataError as error:
        raise LeftOut("with an empty answer", f"{named(row)}: {error}") from error
    refuse_equal(row, [side.ids for side in sides])
    tokens = max(len(side.ids) for side in sides)
    if max_length is not None and tokens > max_length:
        raise too_long(
            row,
            max_length,
            f"the {longest(row, 'conversation')} takes {tokens} tokens, more than {max_length}; lower "
            "pairs.max_prompt_length or raise the limit",
        )
    # Assistant's turns have even places, so the first that is compared comes after half of the shared turns.
    first = row.shared_turns // 2
    start = sides[0].spans[first][0]
    return sides[0].ids[:start], [(side.ids[start:], _mask(side, first, start)) for side in sides]


def _mask(side: Transcript, first: int, start: int) -> tuple[bool, ...]:
    """Return which tokens from `start` on belong to the assistant's turns from number `first` on."""
    mask = [False] * (len(side.ids) - start)
    for begin, end in side.spans[first:]:
        mask[begin - start : end - start] = [True] * (end - begin)
    return tuple(mask)
