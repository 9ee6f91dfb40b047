"""LongMab-PO's rollout: the chunks of a context are the arms; the bandit picks which ones the model reads.

Paper: arXiv 2508.13993, section 3. Per record: probe -> initial values -> (pick arms, answer, score, update) x pulls.
Beyond it: credit by arm (`credit.py`) and stopping early (`early_stopping.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from longmab_pl.bandits import BanditSettings
from longmab_pl.data.chunking import Chunk, chunk_spans
from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.prompts import encoding
from longmab_pl.rewards.answer_match import pair_reward, rollout_reward
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted
from longmab_pl.strategies.bandit.credit import Credit, EmbeddingSupport, LexicalSupport, Support, credited
from longmab_pl.strategies.bandit.early_stopping import EarlyStopping, StopReason
from longmab_pl.strategies.bandit.probe import Probe, probe_accepted, probe_messages
from longmab_pl.strategies.base import RecordRollout, RequestStream, Response, StrategyContext

Init = Literal["probe", "query", "uniform"]
Budget = Literal["fixed", "adaptive"]


@dataclasses.dataclass(frozen=True)
class Chunking:
    """How contexts become arms.

    Args:
        chunk_size: tokens per chunk.
        overlap: sentences that a chunk repeats from the one before.
        min_sentences: a shorter last chunk joins the one before.
        style: `linear` (true sentence ends, nothing dropped, one tokenization) or `paper` (the original's, exact).
    """

    chunk_size: int = 1500
    overlap: int = 2
    min_sentences: int = 2
    style: Literal["linear", "paper"] = "linear"


@dataclasses.dataclass(frozen=True)
class BanditRollout:
    """The rollout strategy of LongMab-PO.

    Args:
        pulls: pulls per record (the paper's 30).
        top_k: chunks per pull.
        samples_per_pull: responses per pull from one prefill; their mean reward updates the arms.
        init: initial arm values: similarity of the chunks to the `probe`, to the `query`, or `uniform` random.
        probe: how probes are made (used by `init: probe`).
        chunking: how contexts become arms.
        bandit: the policy that picks arms.
        sampling: how responses are sampled.
        credit: what a played arm learns of a response's reward: all of it (`shared`, the paper), or as much as its
            chunk supports of the response, by `lexical` overlap or by `embedding`.
        budget: `fixed` plays all pulls (the paper); `adaptive` stops a record by `early_stopping`, and what it
            leaves of its pulls lets in further records of the file, as long as there are any.
        early_stopping: when a record of an adaptive budget stops.
    """

    pulls: int = 30
    top_k: int = 4
    samples_per_pull: int = 1
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
            if getattr(self, name) < 1:
                raise ConfigError(f"strategy.{name} is {getattr(self, name)}; it must be at least 1")
        if self.credit not in ("shared", "lexical", "embedding"):
            raise ConfigError(f"strategy.credit is {self.credit!r}; it is shared, lexical or embedding")
        if self.budget not in ("fixed", "adaptive"):
            raise ConfigError(f"strategy.budget is {self.budget!r}; it is fixed or adaptive")

    @property
    def probes(self) -> int:
        """Responses asked for before the first pull."""
        return int(self.init == "probe")

    @property
    def embeds(self) -> bool:
        """Whether it needs the embedder."""
        return self.init != "uniform" or self.credit == "embedding"

    def expected_responses(self) -> int:
        return self.pulls * self.samples_per_pull + self.probes

    def needed_model_len(self) -> int:
        return self.top_k * self.chunking.chunk_size + self.sampling.max_tokens

    def roll(self, record: QARecord, tools: StrategyContext) -> RequestStream[RecordRollout]:
        c = self.chunking
        chunks = chunk_spans(record.context, tools.tokenizer, c.chunk_size, c.overlap, c.min_sentences, c.style)
        if not chunks:
            raise DataError(f"record {quoted(record.id)}: the context gives no chunk; it needs some text")
        values, source = yield from self._initial_values(record, chunks, tools)
        if values is None:
            stopped: StopReason = "no_signal" if self.budget == "adaptive" else ""
            return RecordRollout(record.id, "probe_rejected", arms=len(chunks), probe=source, stopped=stopped)
        policy = self.bandit.start(values, self.top_k, derive_seed(tools.seed, record.id, "bandit"))
        texts_of_chunks = [chunk.of(record.context) for chunk in chunks]
        support = self._support(texts_of_chunks, tools)
        responses: list[Response] = []
        judged: dict[str, float] = {}  # pair reward of each different response
        stopped = ""
        for t in range(self.pulls):
            arms = policy.select()
            context = "\n".join(texts_of_chunks[a] for a in arms)
            request = Request(
                id=f"{record.id}/{t}",
                prompt_ids=tools.prompt_format.prompt_ids(tools.tokenizer, context, record.question),
                sampling=self.sampling,
                n=self.samples_per_pull,
                seed=derive_seed(tools.seed, record.id, t),
            )
            (completion,) = yield [request]
            texts = [tools.prompt_format.response(text) for text in completion.texts]
            rewards = [rollout_reward(text, record.answers) for text in texts]
            for text, reason, reward in zip(texts, completion.finish_reasons, rewards, strict=True):
                responses.append(Response(text, reason == "stop", t, tuple(arms), reward))
            if support is None:
                policy.update(arms, sum(rewards) / len(rewards))
            else:
                by_arm = [credited(r, support.of(x, arms)) for r, x in zip(rewards, texts, strict=True)]
                policy.update(arms, np.mean(by_arm, axis=0).tolist())
            if self.budget == "adaptive":
                judged |= {text: pair_reward(text, record.answers) for text in texts if text.strip()}
                stopped = self.early_stopping.reason(judged.values(), t + 1)
                if stopped:
                    break
        return RecordRollout(
            record_id=record.id,
            status="ok",
            responses=tuple(responses),
            arms=len(chunks),
            pulls=tuple(int(n) for n in policy.pulls),
            values=tuple(float(v) for v in policy.values),
            evidence=tuple(int(any(a in chunk.of(record.context) for a in record.answers)) for chunk in chunks),
            probe=source,
            stopped=stopped,
        )

    def _support(self, chunks: Sequence[str], tools: StrategyContext) -> Support | None:
        """What credits the arms, or None where all share one reward."""
        if self.credit == "lexical":
            return LexicalSupport(chunks)
        if self.credit == "embedding":
            return EmbeddingSupport(tools.embedder.encode(chunks), tools.embedder)
        return None

    def _initial_values(
        self, record: QARecord, chunks: Sequence[Chunk], tools: StrategyContext
    ) -> RequestStream[tuple[Any, str]]:
        """Initial arm values, [arms], or None for a rejected probe; and what they were made from."""
        source: Init = self.init
        probe_text = ""
        if source == "probe":
            probe_text = yield from self._ask_probe(record, tools)
            if not probe_accepted(probe_text, record.answers):
                if self.probe.on_reject == "drop":
                    return None, "probe"
                source = "query"
        if source == "uniform":
            rng = np.random.default_rng(derive_seed(tools.seed, record.id, "init"))
            return rng.random(len(chunks)), source
        vectors = tools.embedder.encode([chunk.of(record.context) for chunk in chunks])
        if source == "probe":
            target = tools.embedder.encode([probe_text])[0]
        else:
            target = tools.embedder.encode_query(record.question)
        return (vectors @ target).astype(float), source

    def _ask_probe(self, record: QARecord, tools: StrategyContext) -> RequestStream[str]:
        tokenizer = tools.tokenizer

        def ids(context: str) -> tuple[int, ...]:
            messages = probe_messages(context, record.question, record.answer)
            return encoding.chat(tokenizer, messages, arguments=tools.prompt_format.template_arguments).ids

        room = tools.max_model_len - self.probe.sampling.max_tokens - len(ids("")) - 8
        if room < 1:
            raise ConfigError(
                f"record {quoted(record.id)}: the probe's question and answer alone do not fit max_model_len "
                f"{tools.max_model_len} with {self.probe.sampling.max_tokens} new tokens; raise engine.max_model_len"
            )
        request = Request(
            id=f"{record.id}/probe",
            prompt_ids=ids(cut_middle(record.context, encoding.text_tokenizer(tokenizer, record.context), room)),
            sampling=self.probe.sampling,
            seed=derive_seed(tools.seed, record.id, "probe"),
        )
        (completion,) = yield [request]
        return completion.texts[0]
