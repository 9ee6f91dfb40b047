"""Tokenization of pairs of conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.errors import DataError
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.prompts.encoding import Arguments
from longmab_pl.prompts.transcript import Transcript, Turn, transcript
from longmab_pl.training.batch import PreferenceExample
from longmab_pl.training.left_out import LeftOut, equal_answers, too_long

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize_conversations(
    pair: PreferencePair, tokenizer: PreTrainedTokenizerBase, max_length: int | None, arguments: Arguments | None
) -> PreferenceExample:
    """Tokenize a pair of conversations; the ids of every turn are those that were sampled."""
    assert not isinstance(pair.prompt, str)
    before = [Turn(message["role"], message["content"]) for message in pair.prompt]
    try:
        chosen, rejected = (
            transcript(tokenizer, [*before, *turns], arguments) for turns in (pair.chosen_turns, pair.rejected_turns)
        )
    except encoding.TemplateError as error:
        raise LeftOut("that the chat template refuses", f"pair {pair.name!r}: {error}") from error
    except DataError as error:
        raise LeftOut("with an empty answer", f"pair {pair.name!r}: {error}") from error
    if chosen.ids == rejected.ids:
        raise equal_answers(pair)
    longest = max(len(chosen.ids), len(rejected.ids))
    if max_length is not None and longest > max_length:
        raise too_long(
            pair,
            max_length,
            f"the longer conversation takes {longest} tokens, more than {max_length}; lower "
            "pairs.max_prompt_length or raise the limit",
        )
    # Assistant's turns have even places, so the first that is compared comes after half of the shared turns.
    first = pair.shared_turns // 2
    start = chosen.spans[first][0]
    masks = [_mask(side, first, start) for side in (chosen, rejected)]
    return PreferenceExample(
        id=pair.name,
        prompt_ids=chosen.ids[:start],
        chosen_ids=chosen.ids[start:],
        rejected_ids=rejected.ids[start:],
        chosen_reward=pair.chosen_reward,
        rejected_reward=pair.rejected_reward,
        chosen_mask=masks[0],
        rejected_mask=masks[1],
        imitated=pair.imitated,
    )


def _mask(side: Transcript, first: int, start: int) -> tuple[bool, ...]:
    """Return which tokens from `start` on belong to the assistant's turns from number `first` on."""
    mask = [False] * (len(side.ids) - start)
    for begin, end in side.spans[first:]:
        mask[begin - start : end - start] = [True] * (end - begin)
    return tuple(mask)
