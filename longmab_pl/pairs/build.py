"""Building of preference pairs on the full context from chosen and rejected responses."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.data.numbering import numbered_part
from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle, pair_context_budget
from longmab_pl.errors import DataError
from longmab_pl.pairs.rule import PairContext
from longmab_pl.pairs.types import Message, PairOrigin, PreferencePair, ScoredResponse
from longmab_pl.prompts import encoding
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import RecordRollout, Response, joined_chunks


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


def _short_prompt(
    record: QARecord, rollout: RecordRollout, response: Response, context: PairContext
) -> tuple[Message, ...] | None:
    """Return the prompt that a response was sampled from, if it had chunks of the context; else None."""
    if not response.read or not rollout.chunks:
        return None
    spans = (rollout.chunks[index] for index in response.read)
    document = joined_chunks(numbered_part(record, start, end) for start, end in spans)
    return tuple(context.prompt_format.messages(document, record.question))


def build_pairs(
    record: QARecord,
    rollout: RecordRollout,
    indices: Sequence[tuple[int, int]],
    max_prompt_length: int,
    context: PairContext,
    *,
    by: str,
    group: Sequence[int] = (),
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
        group: the responses that the first pair has as its group; the context is cut so that each of them fits.

    Raises:
        DataError: the answers leave no room for the context.
    """
    if not indices:
        return []
    responses = rollout.responses
    longest = max(context.count(responses[i].text) for i in {*(i for pair in indices for i in pair), *group})
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
    whole = document == record.context and not rollout.trace.get("cut_tokens")
    members = tuple(
        ScoredResponse(r.text, r.scores[by].value, r.finished, _sampled(r, context), on_prompt=whole and not r.read)
        for r in (responses[i] for i in group)
    )
    short: dict[tuple[int, ...], tuple[Message, ...] | None] = {}  # read chunks -> prompt, one object for all pairs
    pairs = []
    for number, (i, j) in enumerate(indices):
        chosen, rejected = responses[i], responses[j]
        if chosen.read not in short:
            short[chosen.read] = _short_prompt(record, rollout, chosen, context)
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
                short_prompt=short[chosen.read],
                group=members if number == 0 else (),
                origin=pair_origin(record, rollout, context, number, i, j),
            )
        )
    return pairs
