"""Tokenization of pairs of blocks that continue one text (step-wise DPO, arXiv:2502.02095)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.training.batch import PreferenceExample
from longmab_pl.training.left_out import LeftOut, equal_answers, too_long

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize_next_block(
    pair: PreferencePair,
    tokenizer: PreTrainedTokenizerBase,
    prompt: tuple[int, ...],
    end_id: int | None,
    max_length: int | None,
) -> PreferenceExample:
    """Return a pair of blocks that continue the same earlier blocks, which are part of its prompt."""
    assert pair.chosen_ids is not None
    assert pair.rejected_ids is not None
    written = pair.chosen_ids[: pair.shared_ids]
    blocks = []
    for ids, ended in ((pair.chosen_ids, pair.chosen_ended), (pair.rejected_ids, pair.rejected_ended)):
        if ids[: pair.shared_ids] != written or len(ids) <= pair.shared_ids:
            raise LeftOut(
                "whose earlier blocks differ",
                f"pair {pair.name!r}: the first {pair.shared_ids} tokens of both answers are not the same, or nothing "
                "follows them",
            )
        block = ids[pair.shared_ids :]
        closed = block[-1] in (end_id, tokenizer.eos_token_id) or encoding.is_control(tokenizer, block[-1])
        blocks.append((*block, end_id) if ended and not closed and end_id is not None else block)
    chosen, rejected = blocks
    if chosen == rejected:
        raise equal_answers(pair)
    longest = len(prompt) + len(written) + max(len(chosen), len(rejected))
    if max_length is not None and longest > max_length:
        raise too_long(
            pair,
            max_length,
            f"prompt ({len(prompt)} tokens), earlier blocks ({len(written)}) and longer block take "
            f"{longest} tokens, more than {max_length}",
        )
    return PreferenceExample(
        id=pair.name,
        prompt_ids=(*prompt, *written),
        chosen_ids=chosen,
        rejected_ids=rejected,
        chosen_reward=pair.chosen_reward,
        rejected_reward=pair.rejected_reward,
    )
