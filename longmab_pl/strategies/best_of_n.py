"""Best of n: several answers over the whole context, from one prefill; the baseline without chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle
from longmab_pl.engines.protocol import Request, RequestStream, Sampling
from longmab_pl.errors import DataError
from longmab_pl.prompts import encoding
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import RecordRollout, Strategy, StrategyContext


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
        tokenizer, prompt_format = context.tokenizer, context.prompt_format
        overhead = prompt_format.prompt_overhead(tokenizer, record.question)
        room = context.max_model_len - self.sampling.max_tokens - overhead
        if room < 1:
            raise DataError(
                f"record {quoted(record.id)}: the question alone takes {overhead} tokens, so that with "
                f"{self.sampling.max_tokens} new ones nothing of the context fits the engine's "
                f"{context.max_model_len}; raise engine.max_model_len"
            )
        budget = min(room, self.max_context_tokens or room)
        text_tokenizer = encoding.text_tokenizer(tokenizer, record.context)
        length = len(text_tokenizer.encode(record.context, add_special_tokens=False))
        document = record.context if length <= budget else cut_middle(record.context, text_tokenizer, budget)
        request = Request(
            id=f"{record.id}/0",
            prompt_ids=prompt_format.prompt_ids(tokenizer, document, record.question),
            sampling=self.sampling,
            n=self.n,
            seed=derive_seed(context.seed, record.id, 0),
        )
        (completion,) = yield [request]
        responses = yield from context.respond(record, completion, 0, stop=self.sampling.stop)
        return RecordRollout(
            record.id, "ok", tuple(responses), trace={"context_tokens": length, "cut_tokens": max(length - budget, 0)}
        )

    def describe(self, rollout: RecordRollout) -> Mapping[str, float]:
        return {"rollout/cut_context_rate": float(rollout.trace["cut_tokens"] > 0)}
