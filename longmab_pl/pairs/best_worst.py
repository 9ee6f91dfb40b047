"""The best-against-worst pair rule (LongMab-PO, section 3.3) with extensions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from longmab_pl.checks import at_least, between, not_negative, one_of, unit_interval
from longmab_pl.data.records import QARecord
from longmab_pl.pairs.build import build_pairs
from longmab_pl.pairs.rule import PairContext
from longmab_pl.pairs.scores import compared_values
from longmab_pl.pairs.similarity import Similarity
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.rewards.answer_match import ROUNDING
from longmab_pl.seeding import derive_seed
from longmab_pl.strategies.base import RecordRollout


@dataclass(frozen=True)
class BestWorst:
    """The best response of a record against its worst (LongMab-PO, section 3.3); the defaults are the paper's.

    With `pairs_per_record` above 1 the first pair is the same, and further pairs follow by decreasing margin; of equal
    margins, pairs whose answers are in fewer pairs so far come first. With a length control, pairs of equal margin are
    ordered by similarity of length.

    Args:
        max_prompt_length: tokens for the training prompt and the longest answer together; the context is cut in the
            middle to the tokens left after 32 for the template, the question and the answer.
        by: name of the reward whose values are compared; null: the first of the run.
        min_margin: minimum difference of the two values; 0 only requires that they differ (the paper).
        min_scored: minimum number of scored responses; a record with fewer is counted in the round's metrics as
            `pairs/skipped_few_scored` (LongReward: 5).
        pairs_per_record: maximum number of pairs per record. They share one prompt, which training computes once.
        max_length_ratio: maximum ratio of the longer answer's tokens to the shorter's; null: no limit.
        max_length_difference: maximum difference of the answers' lengths, in tokens; null: no limit.
        distinct: which pairs of a record are duplicates and made once: those with similar chosen and similar
            rejected `text`, or with equal final `answer` in both (a paraphrased answer is a different pair).
        max_similarity: texts are similar if their normalized words overlap by more than this (F1 of the words in
            [0, 1], in any order); at 1 only texts of the same words are similar.
    """

    max_prompt_length: int = 8192
    by: str | None = None
    min_margin: float = 0.0
    min_scored: int = 2
    pairs_per_record: int = 1
    max_length_ratio: float | None = None
    max_length_difference: int | None = None
    distinct: Literal["text", "answer"] = "text"
    max_similarity: float = 0.9

    def __post_init__(self) -> None:
        at_least("pairs.max_prompt_length", self.max_prompt_length, 64, "a prompt needs at least 64 tokens")
        between("pairs.min_margin", self.min_margin, 0, 1, "rewards lie in 0..1")
        at_least("pairs.min_scored", self.min_scored, 2, "a pair needs two")
        at_least("pairs.pairs_per_record", self.pairs_per_record, 1)
        at_least(
            "pairs.max_length_ratio",
            self.max_length_ratio,
            1,
            "it is longer over shorter, so at least 1, or null",
            or_null=True,
        )
        not_negative(
            "pairs.max_length_difference", self.max_length_difference, "give a number of tokens, or null", or_null=True
        )
        one_of("pairs.distinct", self.distinct, ("text", "answer"))
        unit_interval("pairs.max_similarity", self.max_similarity, zero=False)

    def pairs(self, record: QARecord, rollout: RecordRollout, context: PairContext) -> list[PreferencePair]:
        responses = rollout.responses
        values = compared_values(responses, self.by, context.primary)
        if sum(value is not None for value in values) < self.min_scored:
            if self.min_scored > 2:
                context.skip("few_scored")
            return []
        lengths = [context.count(r.text) for r in responses] if self.controls_length else [0] * len(responses)
        indices = choose_pairs(
            [r.text for r in responses], values, lengths, self, derive_seed(context.seed, record.id, "pair")
        )
        return build_pairs(record, rollout, indices, self.max_prompt_length, context, by=self.by or context.primary)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the rewards that it reads; empty for the primary only."""
        return () if self.by is None else (self.by,)

    @property
    def controls_length(self) -> bool:
        """Whether the rule limits the difference of the answers' lengths."""
        return self.max_length_ratio is not None or self.max_length_difference is not None

    def length_matched(self, a: int, b: int) -> bool:
        """Return whether answers of `a` and `b` tokens may form a pair."""
        shorter, longer = min(a, b), max(a, b)
        if self.max_length_ratio is not None and longer > self.max_length_ratio * shorter:
            return False
        return self.max_length_difference is None or longer - shorter <= self.max_length_difference


def choose(rewards: Sequence[float | None], seed: int, min_margin: float = 0.0) -> tuple[int, int] | None:
    """Return indices of a random best and a random worst response, or None if they differ by less than `min_margin`.

    Equal rewards give None. Responses whose reward is None are ignored. This is the paper's rule.
    """
    known = [r for r in rewards if r is not None]
    if not known:
        return None
    best, worst = max(known), min(known)
    if best == worst or best - worst < min_margin - ROUNDING:
        return None
    rng = random.Random(seed)
    chosen = rng.choice([i for i, r in enumerate(rewards) if r == best])
    rejected = rng.choice([i for i, r in enumerate(rewards) if r == worst])
    return chosen, rejected


def choose_pairs(
    texts: Sequence[str], rewards: Sequence[float | None], lengths: Sequence[int], rule: BestWorst, seed: int
) -> list[tuple[int, int]]:
    """Return the indices (chosen, rejected) of a record's pairs under a rule, in the rule's order.

    Args:
        texts: the responses.
        rewards: reward of each response; None excludes it.
        lengths: tokens of each response; used with a length control only.
        rule: the rule.
        seed: decides between equal pairs.
    """
    pairs: list[tuple[int, int]] = []
    if not rule.controls_length:
        first = choose(rewards, seed, rule.min_margin)
        if first is None:
            return []
        pairs.append(first)
        if rule.pairs_per_record == 1:
            return pairs
    candidates = [
        (i, j)
        for i, better in enumerate(rewards)
        for j, worse in enumerate(rewards)
        if better is not None and worse is not None and better > worse and better - worse >= rule.min_margin - ROUNDING
        if not rule.controls_length or rule.length_matched(lengths[i], lengths[j])
    ]
    random.Random(derive_seed(seed, "further")).shuffle(candidates)
    similar = Similarity(texts, rule.max_similarity, by_answer=rule.distinct == "answer")

    def rank(candidate: tuple[int, int]) -> tuple[float, int, int]:
        i, j = candidate
        better, worse = rewards[i], rewards[j]
        assert better is not None
        assert worse is not None
        used = sum(similar(i, a) + similar(j, b) for a, b in pairs)
        return worse - better, used, abs(lengths[i] - lengths[j]) if rule.controls_length else 0

    while len(pairs) < rule.pairs_per_record:
        candidates = [(i, j) for i, j in candidates if not any(similar(i, a) and similar(j, b) for a, b in pairs)]
        if not candidates:
            break
        pairs.append(min(candidates, key=rank))
    return pairs
