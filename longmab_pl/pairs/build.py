"""Building of preference pairs on the full context from chosen and rejected responses."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle, pair_context_budget
from longmab_pl.errors import DataError
from longmab_pl.pairs.rule import PairContext
from longmab_pl.pairs.types import PairOrigin, PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import RecordRollout, Response


def _sampled(response: Response, context: PairContext) -> tuple[int, ...] | None:
    """Return the token ids of a response after the template's header; None if the engine did not return them."""
    if not response.token_ids:
        return None
    return context.prompt_format.response_ids(context.tokenizer, response.token_ids)


def pair_origin(
    record: QARecord, rollout: RecordRollout, context: PairContext, number: int, chosen: int, rejected: int
) -> PairOrigin:
    """Return the origin of a record's pair.

    Args:
        record: the record.
        rollout: its responses.
        context: the round.
        number: number of the pair within its record, from 0.
        chosen: index of the chosen response.
        rejected: index of the rejected response.
    """
    better, worse = rollout.responses[chosen], rollout.responses[rejected]
    return PairOrigin(
        pair=number,
        input=record.question,
        answer=record.answer,
        chosen_index=chosen,
        rejected_index=rejected,
        chosen_step=better.step,
        rejected_step=worse.step,
        chosen_read=better.read,
        rejected_read=worse.read,
        round=context.round,
    )


def build_pairs(
    record: QARecord,
    rollout: RecordRollout,
    indices: Sequence[tuple[int, int]],
    max_prompt_length: int,
    context: PairContext,
    *,
    by: str,
) -> list[PreferencePair]:
    """Return pairs of a record's responses on its full context.

    All pairs share one prompt: its context is cut once, to the tokens left by the longest of their answers.

    Args:
        record: the record.
        rollout: its responses.
        indices: (chosen, rejected) of each pair among the responses.
        max_prompt_length: tokens for the prompt and the longest answer together.
        context: tokenizer, prompt format, seed and round.
        by: name of the compared score.

    Raises:
        DataError: the answers leave no room for the context.
    """
    if not indices:
        return []
    responses = rollout.responses
    longest = max(context.count(responses[i].text) for pair in indices for i in pair)
    # As in the authors' program, tokens that the tokenizer adds to each text count (Llama: a first token).
    added = context.tokenizer.num_special_tokens_to_add()
    longest += added
    budget = pair_context_budget(max_prompt_length, context.count(record.question) + added, longest, longest)
    if budget < 1:
        raise DataError(
            f"record {quoted(record.id)}: question and answers alone take pairs.max_prompt_length = "
            f"{max_prompt_length} tokens; raise it or lower sampling.max_tokens"
        )
    document = cut_middle(record.context, encoding.text_tokenizer(context.tokenizer, record.context), budget)
    prompt = tuple(context.prompt_format.messages(document, record.question))
    pairs = []
    for number, (i, j) in enumerate(indices):
        chosen, rejected = responses[i], responses[j]
        pairs.append(
            PreferencePair(
                id=record.id,
                prompt=prompt,
                chosen=chosen.text,
                rejected=rejected.text,
                chosen_reward=chosen.scores[by].value,
                rejected_reward=rejected.scores[by].value,
                chosen_ended=chosen.finished,
                rejected_ended=rejected.finished,
                chosen_ids=_sampled(chosen, context),
                rejected_ids=_sampled(rejected, context),
                origin=pair_origin(record, rollout, context, number, i, j),
            )
        )
    return pairs
