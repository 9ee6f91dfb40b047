"""Best of n: several answers over the whole context, from one prefill; the baseline without chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Request, RequestStream, Sampling
from longmab_pl.seeding import derive_seed
from longmab_pl.strategies.base import RecordRollout, Strategy, StrategyContext
from longmab_pl.strategies.whole_context import whole_context


@dataclass(frozen=True)
class BestOfN(Strategy):
    """Samples `n` answers over the whole context; rewards determine the best and worst.

    Args:
        n: answers per record.
        sampling: sampling parameters.
        max_context_tokens: longer contexts are cut in the middle to this many tokens; null: to the engine's limit.

    Example:
        >>> BestOfN(n=8, sampling=Sampling(temperature=0.7, max_tokens=256)).expected_responses
        8
    """

    n: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        at_least("strategy.n", self.n, 2, "two answers at least make a pair")
        at_least("strategy.max_context_tokens", self.max_context_tokens, 1, or_null=True)

    @property
    def expected_responses(self) -> int:
        return self.n

    @property
    def scored_together(self) -> int:
        return self.n

    @property
    def needed_model_len(self) -> int:
        # Contexts are cut to the engine's limit, so only an explicit limit must fit.
        return (self.max_context_tokens or 0) + self.sampling.max_tokens

    @property
    def max_response_tokens(self) -> int:
        return self.sampling.max_tokens

    def roll(self, record: QARecord, context: StrategyContext) -> RequestStream[RecordRollout]:
        shown = whole_context(record, context, self.sampling.max_tokens, self.max_context_tokens)
        request = Request(
            id=f"{record.id}/0",
            prompt_ids=context.prompt_format.prompt_ids(context.tokenizer, shown.text, record.question),
            sampling=self.sampling,
            n=self.n,
            seed=derive_seed(context.seed, record.id, 0),
        )
        (completion,) = yield [request]
        responses = yield from context.respond(record, completion, 0, stop=self.sampling.stop)
        return RecordRollout(
            record.id, "ok", tuple(responses), trace={"context_tokens": shown.tokens, "cut_tokens": shown.cut}
        )

    def describe(self, rollout: RecordRollout) -> Mapping[str, float]:
        return {"rollout/cut_context_rate": float(rollout.trace["cut_tokens"] > 0)}
