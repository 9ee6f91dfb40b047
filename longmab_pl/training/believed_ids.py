"""Token ids in files of pairs, which count only if they spell the texts beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from longmab_pl.pairs.types import Answer, Demonstration
from longmab_pl.prompts import encoding
from longmab_pl.training.left_out import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def with_believed_ids(row: Row, tokenizer: PreTrainedTokenizerBase) -> Row:
    """Return a row of a file without token ids that do not spell its texts.

    A round's own pairs are trained on the ids that were sampled. A file from elsewhere may hold any numbers: they count
    only if they spell the answer, with no control token but one at its end.

    Args:
        row: a pair or demonstration that was read from a file.
        tokenizer: the policy's tokenizer.
    """
    if isinstance(row, Demonstration):
        return replace(row, answer=_believed(row.answer, tokenizer))
    chosen, rejected = (_believed(answer, tokenizer) for answer in row.answers)
    group = tuple(r if r.ids is None or _says(tokenizer, r.ids, r.text) else replace(r, ids=None) for r in row.group)
    return replace(
        row,
        chosen_ids=chosen.ids,
        rejected_ids=rejected.ids,
        chosen_turns=chosen.turns,
        rejected_turns=rejected.turns,
        group=group,
    )


def _believed(answer: Answer, tokenizer: PreTrainedTokenizerBase) -> Answer:
    ids = answer.ids if answer.ids is not None and _says(tokenizer, answer.ids, answer.text) else None
    turns = tuple(
        turn if _says(tokenizer, turn.token_ids, turn.text) else replace(turn, token_ids=()) for turn in answer.turns
    )
    return replace(answer, ids=ids, turns=turns)


def _says(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str) -> bool:
    """Return whether token ids spell a text, with no control token but one at their end.

    White space does not count (tokenizers add and drop it), and neither does a text with a character that is cut.
    """
    if any(encoding.is_control(tokenizer, token) for token in ids[:-1]):
        return False
    said = tokenizer.decode(list(ids), skip_special_tokens=True)
    return "\ufffd" in said or "".join(said.split()) == "".join(text.split())
