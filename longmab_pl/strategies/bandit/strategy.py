"""LongMab-PO's rollout: the chunks of a context are the arms, and the bandit chooses those in the prompt.

Paper: arXiv 2508.13993, section 3. Per record: probe -> initial values -> (pick arms, answer, score, update) x pulls.
Extensions: credit by arm (`credit.py`) and early stopping (`early_stopping.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from longmab_pl.bandits import BanditSettings
from longmab_pl.checks import at_least, one_of
from longmab_pl.data.chunking import chunk_spans
from longmab_pl.data.numbering import numbered_part
from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle
from longmab_pl.engines.protocol import Request, RequestStream, Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.prompts import encoding
from longmab_pl.rewards.base import Score
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted
from longmab_pl.strategies.bandit.credit import Credit, EmbeddingSupport, LexicalSupport, Support, credited
from longmab_pl.strategies.bandit.early_stopping import EarlyStopping, StopReason
from longmab_pl.strategies.bandit.probe import Probe, probe_accepted, probe_messages
from longmab_pl.strategies.bandit.trace import pull_entropy
from longmab_pl.strategies.base import Budget, RecordRollout, Response, Strategy, StrategyContext, joined_chunks

Init = Literal["probe", "query", "uniform"]


@dataclasses.dataclass(frozen=True)
class Chunking:
    """Settings for cutting contexts into arms.

    Args:
        chunk_size: tokens per chunk.
        overlap: sentences that a chunk repeats from the one before.
        min_sentences: minimum sentences of the last chunk; a shorter one is merged into the one before.
        style: `linear` (true sentence ends, nothing dropped, one tokenization) or `paper` (the original's, exact).
    """

    chunk_size: int = 1500
    overlap: int = 2
    min_sentences: int = 2
    style: Literal["linear", "paper"] = "linear"

    def __post_init__(self) -> None:
        at_least("strategy.chunking.chunk_size", self.chunk_size, 1)
        for name in ("overlap", "min_sentences"):
            at_least(f"strategy.chunking.{name}", getattr(self, name), 0)


@dataclasses.dataclass(frozen=True)
class BanditRollout(Strategy):
    """The rollout strategy of LongMab-PO.

    Args:
        pulls: pulls per record (the paper's 30).
        top_k: chunks per pull.
        samples_per_pull: responses per pull from one prefill; their mean reward updates the arms.
        learn_from: the part of the primary reward's score that updates the arms (`rollout` of `AnswerMatch` is the
            paper's); if a score has no such part, its value does.
        init: initial arm values: similarity of the chunks to the `probe`, to the `query`, or `uniform` random.
        probe: settings of the probe (used by `init: probe`).
        chunking: settings for cutting contexts into arms.
        bandit: the policy that chooses arms.
        sampling: sampling parameters of responses.
        credit: share of a response's reward that a played arm receives: all of it (`shared`, the paper), or according
            to its chunk's support of the response, by `lexical` overlap or by `embedding`.
        budget: `fixed` plays all pulls (the paper); `adaptive` stops a record by `early_stopping` and uses its
            remaining pulls for further records of the file, if there are any.
        early_stopping: when a record of an adaptive budget stops.
    """

    pulls: int = 30
    top_k: int = 4
    samples_per_pull: int = 1
    learn_from: str = "rollout"
    init: Init = "probe"
    probe: Probe = dataclasses.field(default_factory=Probe)
    chunking: Chunking = dataclasses.field(default_factory=Chunking)
    bandit: BanditSettings = dataclasses.field(default_factory=BanditSettings)
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    credit: Credit = "shared"
    budget: Budget = "fixed"
    early_stopping: EarlyStopping = dataclasses.field(default_factory=EarlyStopping)

    def __post_init__(self) -> None:
        for name in ("pulls", "top_k", "samples_per_pull"):
            at_least(f"strategy.{name}", getattr(self, name), 1)
        one_of("strategy.credit", self.credit, get_args(Credit))
        one_of("strategy.budget", self.budget, get_args(Budget))

    @property
    def needs_embedder(self) -> bool:
        return self.init != "uniform" or self.credit == "embedding"

    @property
    def expected_responses(self) -> int:
        return self.pulls * self.samples_per_pull + int(self.init == "probe")

    @property
    def scored_together(self) -> int:
        return self.samples_per_pull

    @property
    def needed_model_len(self) -> int:
        return self.top_k * self.chunking.chunk_size + self.sampling.max_tokens

    @property
    def max_response_tokens(self) -> int:
        return self.sampling.max_tokens

    def roll(self, record: QARecord, context: StrategyContext) -> RequestStream[RecordRollout]:
        c = self.chunking
        spans = chunk_spans(record.context, context.tokenizer, c.chunk_size, c.overlap, c.min_sentences, c.style)
        if not spans:
            raise DataError(f"record {quoted(record.id)}: the context gives no chunk; it needs some text")
        chunks = [numbered_part(record, span.start, span.end) for span in spans]
        values, source = yield from self._initial_values(record, chunks, context)
        if values is None:
            reason: StopReason = "no_signal" if self.budget == "adaptive" else ""
            trace = {"arms": len(chunks), "init": source}
            return RecordRollout(record.id, "probe_rejected", stopped=reason, trace=trace)
        policy = self.bandit.start(values, self.top_k, derive_seed(context.seed, record.id, "bandit"))
        support = self._support(chunks, context)
        responses: list[Response] = []
        compared: dict[str, float] = {}  # response -> value that pairs compare
        stopped: StopReason = ""
        for pull in range(self.pulls):
            arms = policy.select()
            request = Request(
                id=f"{record.id}/{pull}",
                prompt_ids=context.prompt_format.prompt_ids(
                    context.tokenizer, joined_chunks(chunks[arm] for arm in arms), record.question
                ),
                sampling=self.sampling,
                n=self.samples_per_pull,
                seed=derive_seed(context.seed, record.id, pull),
            )
            (completion,) = yield [request]
            sampled = yield from context.respond(record, completion, pull, arms, self.sampling.stop)
            responses += sampled
            scores = [response.scores[context.primary] for response in sampled]
            known = [(r.text, s) for r, s in zip(sampled, scores, strict=True) if s.excluded is None]
            if known:
                policy.update(arms, self._feedback(known, arms, support))
            if self.budget == "adaptive":
                compared |= {text: score.value for text, score in known if text.strip()}
                stopped = self.early_stopping.reason(compared.values(), pull + 1)
                if stopped:
                    break
        return RecordRollout(
            record_id=record.id,
            status="ok",
            responses=tuple(responses),
            stopped=stopped,
            trace={
                "arms": len(chunks),
                "init": source,
                "pulls": [int(n) for n in policy.pulls],
                "values": [float(v) for v in policy.values],
                # Chunks that contain a gold answer verbatim: for reports only, never shown to a policy.
                "evidence": [int(any(answer in chunk for answer in record.answers)) for chunk in chunks],
            },
            chunks=tuple((span.start, span.end) for span in spans),
        )

    def describe(self, rollout: RecordRollout) -> Mapping[str, float]:
        described = {"bandit/probe_rejected_rate": float(rollout.status == "probe_rejected")}
        if rollout.status == "ok":
            described["bandit/pull_entropy"] = pull_entropy(rollout.trace["pulls"])
        return described

    def _feedback(
        self, scored: Sequence[tuple[str, Score]], arms: Sequence[int], support: Support | None
    ) -> float | list[float]:
        """Return the reward of a pull's responses for the played arms: one mean reward, or one for each arm."""
        learned = [score.parts.get(self.learn_from, score.value) for _, score in scored]
        if support is None:
            return sum(learned) / len(learned)
        by_arm = [credited(reward, support.of(text, arms)) for reward, (text, _) in zip(learned, scored, strict=True)]
        return np.mean(by_arm, axis=0).tolist()  # type: ignore[no-any-return]

    def _support(self, chunks: Sequence[str], context: StrategyContext) -> Support | None:
        """Return the support measure for credit by arm, or None if all arms share one reward."""
        if self.credit == "lexical":
            return LexicalSupport(chunks)
        if self.credit == "embedding":
            return EmbeddingSupport(context.embedder.encode(chunks), context.embedder)
        return None

    def _initial_values(
        self, record: QARecord, chunks: Sequence[str], context: StrategyContext
    ) -> RequestStream[tuple[Any, str]]:
        """Return initial arm values, [arms] (None: the probe was rejected), and their source."""
        source: Init = self.init
        probe_text = ""
        if source == "probe":
            probe_text = yield from self._ask_probe(record, context)
            if not probe_accepted(probe_text, record.answers):
                if self.probe.on_reject == "drop":
                    return None, "probe"
                source = "query"
        if source == "uniform":
            rng = np.random.default_rng(derive_seed(context.seed, record.id, "init"))
            return rng.random(len(chunks)), source
        vectors = context.embedder.encode(chunks)
        if source == "probe":
            target = context.embedder.encode([probe_text])[0]
        else:
            target = context.embedder.encode_query(record.question)
        return (vectors @ target).astype(float), source

    def _ask_probe(self, record: QARecord, context: StrategyContext) -> RequestStream[str]:
        tokenizer = context.tokenizer

        def ids(document: str) -> tuple[int, ...]:
            messages = probe_messages(document, record.question, record.answer)
            return encoding.chat(tokenizer, messages, arguments=context.prompt_format.template_arguments).ids

        room = context.max_model_len - self.probe.sampling.max_tokens - len(ids("")) - 8
        if room < 1:
            raise ConfigError(
                f"record {quoted(record.id)}: the probe's question and answer alone do not fit max_model_len "
                f"{context.max_model_len} with {self.probe.sampling.max_tokens} new tokens; raise engine.max_model_len"
            )
        request = Request(
            id=f"{record.id}/probe",
            prompt_ids=ids(cut_middle(record.context, encoding.text_tokenizer(tokenizer, record.context), room)),
            sampling=self.probe.sampling,
            seed=derive_seed(context.seed, record.id, "probe"),
        )
        (completion,) = yield [request]
        return completion.texts[0]
