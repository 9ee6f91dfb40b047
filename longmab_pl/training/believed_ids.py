"""Token ids in files of pairs, which count only if they spell the texts beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts import encoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def with_believed_ids(pair: PreferencePair, tokenizer: PreTrainedTokenizerBase) -> PreferencePair:
    """Return a pair of a file without token ids that do not spell its texts.

    A round's own pairs are trained on the ids that were sampled. A file from elsewhere may hold any numbers: they count
    only if they spell the answer, with no control token but one at its end.

    Args:
        pair: a pair that was read from a file.
        tokenizer: the policy's tokenizer.
    """
    chosen, rejected = pair.chosen_ids, pair.rejected_ids
    if chosen is not None and not _says(tokenizer, chosen, pair.chosen):
        chosen = None
    if rejected is not None and not _says(tokenizer, rejected, pair.rejected):
        rejected = None
    sides = [
        tuple(turn if _says(tokenizer, turn.token_ids, turn.text) else replace(turn, token_ids=()) for turn in turns)
        for turns in (pair.chosen_turns, pair.rejected_turns)
    ]
    group = tuple(r if r.ids is None or _says(tokenizer, r.ids, r.text) else replace(r, ids=None) for r in pair.group)
    return replace(
        pair,
        chosen_ids=chosen,
        rejected_ids=rejected,
        chosen_turns=sides[0],
        rejected_turns=sides[1],
        group=group,
    )


def _says(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str) -> bool:
    """Return whether token ids spell a text, with no control token but one at their end.

    White space does not count (tokenizers add and drop it), and neither does a text with a character that is cut.
    """
    if any(encoding.is_control(tokenizer, token) for token in ids[:-1]):
        return False
    said = tokenizer.decode(list(ids), skip_special_tokens=True)
    return "\ufffd" in said or "".join(said.split()) == "".join(text.split())
