"""Tokenization of blocks that continue one text (step-wise DPO, arXiv:2502.02095)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.pairs.types import Demonstration, PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.training.left_out import LeftOut, longest, named, refuse_equal, too_long
from longmab_pl.training.prefix_tree import Completion, Ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def next_block_tokens(
    row: PreferencePair | Demonstration,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Ids,
    end_id: int | None,
    max_length: int | None,
) -> tuple[Ids, list[Completion]]:
    """Return the tokens of blocks that continue the same earlier blocks, which are part of the prompt."""
    written = (row.answers[0].ids or ())[: row.shared_ids]
    blocks: list[Completion] = []
    for answer in row.answers:
        ids = answer.ids or ()
        if ids[: row.shared_ids] != written or len(ids) <= row.shared_ids:
            raise LeftOut(
                "whose earlier blocks differ",
                f"{named(row)}: the first {row.shared_ids} tokens of both answers are not the same, or nothing "
                "follows them",
            )
        block = ids[row.shared_ids :]
        closed = block[-1] in (end_id, tokenizer.eos_token_id) or encoding.is_control(tokenizer, block[-1])
        closing = (end_id,) if answer.ended and not closed and end_id is not None else ()
        blocks.append(((*block, *closing), None))
    refuse_equal(row, blocks)
    tokens = len(prompt) + len(written) + max(len(ids) for ids, _ in blocks)
    if max_length is not None and tokens > max_length:
        raise too_long(
            row,
            max_length,
            f"prompt ({len(prompt)} tokens), earlier blocks ({len(written)}) and {longest(row, 'block')} take "
            f"{tokens} tokens, more than {max_length}",
        )
    return (*prompt, *written), blocks
