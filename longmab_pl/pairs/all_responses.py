"""The pair rule for group losses: the best response against the worst, with all responses of the record beside them."""

from __future__ import annotations

from dataclasses import dataclass

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.pairs.best_worst import choose
from longmab_pl.pairs.build import build_pairs
from longmab_pl.pairs.rule import PairContext
from longmab_pl.pairs.scores import compared_values
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.seeding import derive_seed
from longmab_pl.strategies.base import RecordRollout


@dataclass(frozen=True)
class AllResponses:
    """One pair of each record, the best response against the worst, with all of its scored responses as a group.

    Group losses (`longmab_pl.training.terms.GroupTerm`) train on the whole group, preference losses on the pair. A
    record whose responses all have one reward has no pair: every advantage in it is 0.

    Args:
        max_prompt_length: tokens for the training prompt and the longest answer together, as in `BestWorst`.
        by: name of the reward whose values are compared; null: the first of the run.
        min_scored: minimum number of scored responses; a record with fewer is counted as `pairs/skipped_few_scored`.

    Example:
        >>> data = RolloutDataModule(engine, strategy=BestOfN(8), pairs=AllResponses(max_prompt_length=4096))

    Source: the groups of GRPO (arXiv:2402.03300) and RLOO (arXiv:2402.14740); the pair is LongMab-PO's, section 3.3.
    """

    max_prompt_length: int = 8192
    by: str | None = None
    min_scored: int = 2

    def __post_init__(self) -> None:
        at_least("pairs.max_prompt_length", self.max_prompt_length, 64, "a prompt needs at least 64 tokens")
        at_least("pairs.min_scored", self.min_scored, 2, "a group needs two")

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the rewards that it reads; empty for the primary only."""
        return () if self.by is None else (self.by,)

    def pairs(self, record: QARecord, rollout: RecordRollout, context: PairContext) -> list[PreferencePair]:
        if any(response.parent is not None for response in rollout.responses) or "nodes" in rollout.trace:
            raise ConfigError(
                "data.pairs is AllResponses, which compares whole answers, and this strategy samples parts of texts or "
                "conversations; use it with BanditRollout or BestOfN"
            )
        values = compared_values(rollout.responses, self.by, context.primary)
        group = [i for i, value in enumerate(values) if value is not None]
        if len(group) < self.min_scored:
            context.skip("few_scored")
            return []
        chosen = choose(values, derive_seed(context.seed, record.id, "pair"))
        if chosen is None:
            context.skip("same_score")
            return []
        by = self.by or context.primary
        return build_pairs(record, rollout, [chosen], self.max_prompt_length, context, by=by, group=group)
