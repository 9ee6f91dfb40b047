"""The best-against-lower-half pair rule (SeaLong, section 3.2)."""

from __future__ import annotations

import random
from dataclasses import dataclass

from longmab_pl.checks import at_least, unit_interval
from longmab_pl.data.records import QARecord
from longmab_pl.pairs.build import build_pairs
from longmab_pl.pairs.rule import PairContext
from longmab_pl.pairs.scores import compared_values
from longmab_pl.pairs.selection import best_and_lower_half
from longmab_pl.pairs.similarity import Similarity
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.rewards.answer_match import ROUNDING
from longmab_pl.seeding import derive_seed
from longmab_pl.strategies.base import RecordRollout


@dataclass(frozen=True)
class BestLowerHalf:
    """The best response of a record against a random one of the lower half by score (SeaLong, section 3.2).

    Rejected responses that give the chosen one's answer are not drawn. A record without a pair is counted in the
    round's metrics: `pairs/skipped_few_responses`, `pairs/skipped_same_score`, `pairs/skipped_same_answer`.

    Args:
        max_prompt_length: tokens for the training prompt and the longest answer together, as in `BestWorst`.
        by: name of the reward whose values are compared; null: the first of the run.
        same_answers: also pair responses with the same answer or equal score, as the original program does.
        max_similarity: responses that do not both state an answer count as the same above this F1 of their normalized
            words, in [0, 1]; at 1 only responses of the same words do.

    Example:
        >>> data = RolloutDataModule(engine, strategy=BestOfN(32), rewards=[Consistency()], pairs=BestLowerHalf())

    Source: SeaLong (arXiv:2411.08147), section 3.2, and its program (`random.choice` of the lowest half).
    """

    max_prompt_length: int = 8192
    by: str | None = None
    same_answers: bool = False
    max_similarity: float = 1.0

    def __post_init__(self) -> None:
        at_least("pairs.max_prompt_length", self.max_prompt_length, 64, "a prompt needs at least 64 tokens")
        unit_interval("pairs.max_similarity", self.max_similarity, zero=False)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the rewards that it reads; empty for the primary only."""
        return () if self.by is None else (self.by,)

    def pairs(self, record: QARecord, rollout: RecordRollout, context: PairContext) -> list[PreferencePair]:
        values = compared_values(rollout.responses, self.by, context.primary)
        usable = [i for i, value in enumerate(values) if value is not None]
        scores = {i: value for i, value in enumerate(values) if value is not None}
        selected = best_and_lower_half([scores[i] for i in usable])
        if selected is None:
            context.skip("few_responses")
            return []
        chosen, pool = usable[selected[0]], [usable[i] for i in selected[1]]
        if not self.same_answers:
            lower = [i for i in pool if scores[chosen] - scores[i] > ROUNDING]
            texts = [response.text for response in rollout.responses]
            similar = Similarity(texts, self.max_similarity, by_answer=True)
            pool = [i for i in lower if not similar(chosen, i)]
            if not pool:
                context.skip("same_answer" if lower else "same_score")
                return []
        rejected = random.Random(derive_seed(context.seed, record.id, "pair")).choice(pool)
        indices = [(chosen, rejected)]
        return build_pairs(record, rollout, indices, self.max_prompt_length, context, by=self.by or context.primary)
