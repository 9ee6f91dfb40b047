"""Pairs of blocks: the chosen block of every step of a stepwise search against a worse one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from longmab_pl.checks import at_least, not_negative, one_of
from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle
from longmab_pl.errors import DataError
from longmab_pl.pairs.build import pair_origin
from longmab_pl.pairs.rule import PairContext
from longmab_pl.pairs.scores import compared_values
from longmab_pl.pairs.stepwise import other_candidates, rejected_block, swapped_words
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts import encoding
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import RecordRollout, Response


@dataclass(frozen=True)
class StepPairs:
    """Compares the blocks of a stepwise search (LongDPO, section 3): a pair for every step, and only its block counts.

    A pair's prompt is the instruction with all earlier blocks. Its chosen block is the one that the search chose, or
    its refinement; the rejected one is the candidate of lowest value, if the chosen one exceeds it by more than the
    margin. An end token follows only a block with which the model ended its answer. Pairs of one record are nested: the
    chosen block of a step is part of the next one's prompt, and packed training computes it once. Steps without a pair
    are in the round's metrics: `pairs/skipped_same_value` (of a whole record), `pairs/skipped_too_long`.

    Args:
        max_prompt_length: most tokens of prompt, earlier blocks and longer block together; a context is cut in the
            middle to fit, and steps of a longer instruction and answer give no pair.
        by: name of the reward whose values are compared; null: the first of the run.
        min_margin: the chosen block's value must exceed the rejected one's by more than this.
        rejected: `lowest` value, or `random`: any other candidate, or the chosen block with words swapped if there is
            none (the original program).

    Example:
        >>> StepPairs(max_prompt_length=16384, min_margin=0.5).rejected
        'lowest'
    """

    max_prompt_length: int = 16384
    by: str | None = None
    min_margin: float = 0.0
    rejected: Literal["lowest", "random"] = "lowest"

    def __post_init__(self) -> None:
        at_least("pairs.max_prompt_length", self.max_prompt_length, 64, "a prompt needs at least 64 tokens")
        not_negative("pairs.min_margin", self.min_margin)
        one_of("pairs.rejected", self.rejected, ("lowest", "random"))

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the rewards that it reads; empty for the primary only."""
        return () if self.by is None else (self.by,)

    def pairs(self, record: QARecord, rollout: RecordRollout, context: PairContext) -> list[PreferencePair]:
        if rollout.responses and "nodes" not in rollout.trace:
            raise DataError(
                f"record {quoted(record.id)}: its responses are whole answers; StepPairs compares the blocks of "
                "StepwiseSearch, use BestWorst for other strategies"
            )
        values = compared_values(rollout.responses, self.by, context.primary)
        steps = [
            (chosen, rejected)
            for children in steps_of(rollout)
            if (chosen := _chosen(children, rollout)) is not None
            and (rejected := self._rejected(children, chosen, values, record, rollout, context)) is not None
        ]
        if not steps:
            context.skip("same_value")
        writer = _PairWriter(self, record, rollout, context)
        pairs: list[PreferencePair] = []
        for chosen, rejected in steps:
            pair = writer.pair(len(pairs), chosen, rejected)
            if pair is not None:
                pairs.append(pair)
            else:
                context.skip("too_long")
        return pairs

    def _rejected(
        self,
        children: Sequence[int],
        chosen: int,
        values: Sequence[float | None],
        record: QARecord,
        rollout: RecordRollout,
        context: PairContext,
    ) -> Response | None:
        """Return the block that the chosen one is compared with."""
        responses = rollout.responses
        if self.rejected == "random":
            drawn = random.Random(derive_seed(context.seed, record.id, "rejected", chosen))
            blocks = [responses[i].text for i in children if rollout.trace["nodes"][i + 1]["kind"] == "block"]
            others = other_candidates(responses[chosen].text, blocks)
            if others:
                text = drawn.choice(others)
                return next(responses[i] for i in children if responses[i].text == text)
            swapped = swapped_words(responses[chosen].text, iter(drawn.random, None))
            own = responses[chosen]
            return None if swapped is None else Response(swapped, False, own.step, parent=own.parent, scores=own.scores)
        known = {i: value for i in children if (value := values[i]) is not None}
        if chosen not in known:
            return None
        order = list(known)
        worst = rejected_block(list(known.values()), order.index(chosen), self.min_margin)
        return None if worst is None else responses[order[worst]]


def steps_of(rollout: RecordRollout) -> list[list[int]]:
    """Return the indices of the candidates of each step of a search, in the order of the steps."""
    steps: dict[int | None, list[int]] = {}
    for i, response in enumerate(rollout.responses):
        steps.setdefault(response.parent, []).append(i)
    return list(steps.values())


def _chosen(children: Sequence[int], rollout: RecordRollout) -> int | None:
    """Return the chosen block among candidates: its refinement, if there is one."""
    nodes = rollout.trace["nodes"]
    chosen = [i for i in children if nodes[i + 1]["chosen"]]
    refined = [i for i in chosen if nodes[i + 1]["kind"] == "refined"]
    return next(iter([*refined, *chosen]), None)


class _PairWriter:
    """Pairs of one record's blocks, with the instruction and the blocks before them as prompt."""

    def __init__(self, rule: StepPairs, record: QARecord, rollout: RecordRollout, context: PairContext) -> None:
        self.rule, self.record, self.rollout, self.context = rule, record, rollout, context
        tokenizer = context.tokenizer
        self.prefill = context.prompt_format.response_ids(tokenizer, ())
        self.overhead = context.prompt_format.prompt_overhead(tokenizer, record.question) - len(self.prefill)
        self.prompt: tuple[dict[str, str], ...] | None = None

    def pair(self, number: int, index: int, rejected: Response) -> PreferencePair | None:
        """Return the pair of a chosen and a rejected block; None if it is too long."""
        responses, context = self.rollout.responses, self.context
        chosen = responses[index]
        path = self._before(chosen)
        written = "".join(block.text for block in path)
        history = [*self.prefill, *(token for block in path for token in self._ids(block, first=block is path[0]))]
        chosen_ids, rejected_ids = self._ids(chosen, first=not path), self._ids(rejected, first=not path)
        longest = self.overhead + len(history) + max(len(chosen_ids), len(rejected_ids))
        if longest > self.rule.max_prompt_length:
            return None
        by = self.rule.by or context.primary
        sampled = all(block.token_ids for block in (*path, chosen))
        # Words that were swapped are no response: the pair's origin is then the chosen block twice.
        rejected_index = next((i for i, response in enumerate(responses) if response is rejected), index)
        return PreferencePair(
            id=self.record.id,
            prompt=self._prompt(),
            chosen=written + chosen.text,
            rejected=written + rejected.text,
            chosen_reward=chosen.scores[by].value,
            rejected_reward=rejected.scores[by].value,
            chosen_ended=chosen.finished,
            rejected_ended=rejected.finished,
            chosen_mask=(len(written), len(written) + len(chosen.text)) if path else None,
            rejected_mask=(len(written), len(written) + len(rejected.text)) if path else None,
            chosen_ids=(*history, *chosen_ids) if sampled else None,
            rejected_ids=(*history, *rejected_ids) if sampled else None,
            shared_ids=len(history) if sampled else 0,
            origin=pair_origin(self.record, self.rollout, context, number, index, rejected_index),
        )

    def _before(self, block: Response) -> list[Response]:
        """Return the blocks before a block, from the first."""
        path: list[Response] = []
        while block.parent is not None:
            block = self.rollout.responses[block.parent]
            path.append(block)
        return path[::-1]

    def _ids(self, block: Response, *, first: bool) -> tuple[int, ...]:
        """Return the sampled token ids of a block, without the prefill; its tokens if the engine returned none."""
        if block.token_ids:
            return block.token_ids
        text = block.text.removeprefix(self.context.prompt_format.response("")) if first else block.text
        tokenizer: Any = encoding.text_tokenizer(self.context.tokenizer, text)
        return tuple(tokenizer.encode(text, add_special_tokens=False))

    def _prompt(self) -> tuple[dict[str, str], ...]:
        """Return the messages of all pairs: the context is cut once, to what the longest answer leaves."""
        if self.prompt is None:
            record, context = self.record, self.context
            document = record.context
            if document:
                answers = [[*self._before(block), block] for block in self.rollout.responses]
                longest = max(sum(len(self._ids(b, first=b is a[0])) for b in a) for a in answers)
                budget = max(self.rule.max_prompt_length - self.overhead - len(self.prefill) - longest, 0)
                document = cut_middle(document, encoding.text_tokenizer(context.tokenizer, document), budget)
            self.prompt = tuple(context.prompt_format.messages(document, record.question))
        return self.prompt
