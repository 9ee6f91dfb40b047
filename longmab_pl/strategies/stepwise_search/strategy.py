"""LongDPO's rollout: an answer is written block by block, and a tree search decides which block is continued.

Paper: arXiv 2502.02095, section 3. Per step: propose blocks -> rate them -> compare with remembered facts -> descend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import POLICY, RequestStream, Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.strategies.base import RecordRollout, Strategy, StrategyContext
from longmab_pl.strategies.stepwise_search.critics import FactMemory, Refinement
from longmab_pl.strategies.stepwise_search.search import Search


def _sampling() -> Sampling:
    return Sampling(temperature=0.7, top_p=1.0, presence_penalty=0.0, max_tokens=2048)


@dataclass(frozen=True)
class StepwiseSearch(Strategy):
    """Writes an answer block by block: several candidates for each next block, of which the best is continued.

    Candidates are scored by the run's first reward, given the whole answer so far: `WritingQuality` for writing,
    `AnswerMatch` for questions with gold answers. A descent from the beginning of the answer follows the block of
    largest PUCT (value + prior x exploration bonus; the prior is the block's probability among its siblings) to a block
    without candidates, and samples some for it.

    Without `back_up` values are never revised and no block is visited twice: the search is greedy, step by step, and
    ends after `blocks` descents, as the original does. With it, every descent adds the best value that it found to all
    blocks that it passed, so that the next one may return to an earlier block.

    Use it with the pair rule `StepPairs`. Records are writing instructions (`data.writing_fields`) or questions.

    Args:
        blocks: most blocks of an answer.
        candidates: candidates per step, sampled from one prefill.
        descents: descents from the beginning; null: as many as blocks.
        sampling: sampling parameters of a block; `max_tokens` is its size. Stop strings are not supported.
        back_up: whether the values of later blocks revise those of earlier ones.
        facts: the memory of facts; null: none.
        refinement: the rewriting of weak chosen blocks; null: none. It needs a reward with the part `quality`.

    Example:
        >>> StepwiseSearch(blocks=4, candidates=4).expected_responses
        20

    Source: LongDPO (arXiv:2502.02095), section 3; what differs is in docs/methods/longdpo.md.
    """

    blocks: int = 4
    candidates: int = 4
    descents: int | None = None
    sampling: Sampling = field(default_factory=_sampling)
    back_up: bool = False
    facts: FactMemory | None = field(default_factory=FactMemory)
    refinement: Refinement | None = field(default_factory=Refinement)

    def __post_init__(self) -> None:
        at_least("strategy.blocks", self.blocks, 1)
        at_least("strategy.candidates", self.candidates, 2, "two candidates at least make a pair")
        at_least("strategy.descents", self.descents, 1, or_null=True)
        if self.sampling.stop:
            raise ConfigError("strategy.sampling.stop is set, but a block ends only with the answer or at its size")

    @property
    def engines(self) -> tuple[str, ...]:
        asked = {part.engine for part in (self.facts, self.refinement) if part is not None}
        return tuple(sorted(asked - {POLICY}))

    @property
    def steps(self) -> int:
        """Most blocks that get candidates."""
        return self.descents or self.blocks

    @property
    def expected_responses(self) -> int:
        return self.steps * (self.candidates + int(self.refinement is not None))

    @property
    def progress_unit(self) -> str:
        return "blocks"

    @property
    def scored_together(self) -> int:
        return self.candidates

    @property
    def needed_model_len(self) -> int:
        # A context is cut to the engine's limit, so only the answer must fit.
        return self.blocks * self.sampling.max_tokens

    @property
    def max_response_tokens(self) -> int:
        return self.blocks * self.sampling.max_tokens

    def roll(self, record: QARecord, context: StrategyContext) -> RequestStream[RecordRollout]:
        return (yield from Search(self, record, context).run())

    def describe(self, rollout: RecordRollout) -> Mapping[str, float]:
        trace = rollout.trace
        steps = max(trace["steps"], 1)
        return {
            "search/blocks": float(trace["blocks"]),
            "search/finished_rate": float(trace["ended"] == "finished"),
            "search/no_verdict_rate": float(trace["ended"] == "no_verdict"),
            "search/candidates": trace["candidates"] / steps,
            "search/empty_blocks": float(trace["empty"]),
            "search/contradictions": float(trace["contradictions"]),
            "search/gate_failure_rate": trace["gate_failures"] / steps,
            "search/refined": float(trace["refined"]),
        }
