"""From a record's scored responses to its preference pairs on the full context."""

from __future__ import annotations

from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle, pair_context_budget
from longmab_pl.errors import DataError
from longmab_pl.pairs.rule import PairRule, choose_pairs
from longmab_pl.pairs.types import PairOrigin, PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.rewards.answer_match import pair_reward
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import RecordRollout


def build_pairs(
    record: QARecord,
    rollout: RecordRollout,
    rule: PairRule,
    prompt_format: PromptFormat,
    tokenizer: Any,
    *,
    seed: int,
    round: int,
) -> list[PreferencePair]:
    """The record's pairs on its full context; none if its responses do not differ enough.

    All of them have one prompt: its context is cut once, to what the longest of their answers leaves.

    Raises:
        DataError: the answers leave no room for the context.
    """

    def count(text: str) -> int:
        return len(encoding.text_tokenizer(tokenizer, text).encode(text, add_special_tokens=False))

    responses = rollout.responses
    # A response without a word cannot be trained on, neither as chosen nor as rejected.
    rewards = [pair_reward(r.text, record.answers) if r.text.strip() else None for r in responses]
    lengths = [count(r.text) for r in responses] if rule.controls_length else [0] * len(responses)
    seed = derive_seed(seed, record.id, "pair")
    indices = choose_pairs([r.text for r in responses], rewards, lengths, rule, seed)
    if not indices:
        return []
    longest = max(count(responses[i].text) for pair in indices for i in pair)
    # As in the authors' program each text counts with what the tokenizer adds to it (Llama: a first token).
    added = tokenizer.num_special_tokens_to_add()
    longest += added
    budget = pair_context_budget(rule.max_prompt_length, count(record.question) + added, longest, longest)
    if budget < 1:
        raise DataError(
            f"record {quoted(record.id)}: question and answers alone take pairs.max_prompt_length = "
            f"{rule.max_prompt_length} tokens; raise it or lower sampling.max_tokens"
        )
    context = cut_middle(record.context, encoding.text_tokenizer(tokenizer, record.context), budget)
    prompt = tuple(prompt_format.messages(context, record.question))
    pairs = []
    for number, (i, j) in enumerate(indices):
        chosen, rejected = responses[i], responses[j]
        pairs.append(
            PreferencePair(
                id=record.id,
                prompt=prompt,
                chosen=chosen.text,
                rejected=rejected.text,
                chosen_reward=pair_reward(chosen.text, record.answers),
                rejected_reward=pair_reward(rejected.text, record.answers),
                chosen_ended=chosen.ended,
                rejected_ended=rejected.ended,
                origin=PairOrigin(
                    pair=number,
                    input=record.question,
                    answer=record.answer,
                    chosen_index=i,
                    rejected_index=j,
                    chosen_pull=chosen.pull,
                    rejected_pull=rejected.pull,
                    chosen_arms=chosen.arms,
                    rejected_arms=rejected.arms,
                    round=round,
                ),
            )
        )
    return pairs
