"""The paper's QA protocol: reason, then answer; EM, F1 and SubEM of the extracted answer (LongMab-PO, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import middle_truncated
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, PromptTooLong
from longmab_pl.evaluation.task import ItemScores, Prompt
from longmab_pl.prompts import encoding
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.rewards.answer_match import answer_scores, extract_answer

GREEDY = Sampling(temperature=0.0, top_p=0.95, presence_penalty=1.0, max_tokens=1024)
"""The authors' evaluation sampling: greedy with presence penalty 1.0 and at most 1,024 new tokens."""


@dataclass(frozen=True)
class QATask:
    """Questions over long contexts, asked through a prompt format and scored by answer match.

    Args:
        name: name in results and files.
        records: what to ask.
        protocol: how a record is read; the same one as in the rollout.
        sampling: the authors' greedy settings by default.
        max_context_tokens: contexts above this many tokens are cut in the middle (authors: 100,000); None: only the
            engine's own limit cuts.
    """

    name: str
    records: Sequence[QARecord]
    protocol: PromptFormat
    sampling: Sampling = field(default=GREEDY)
    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        if not self.records:
            raise ConfigError(f"evaluation task {self.name!r} has no records")
        if self.max_context_tokens is not None and self.max_context_tokens < 2:
            raise ConfigError(
                f"max_context_tokens of evaluation task {self.name!r} is {self.max_context_tokens}; use at least 2"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("f1", "em", "subem")

    def settings(self) -> dict[str, Any]:
        protocol: dict[str, Any] = {"class": type(self.protocol).__name__}
        if is_dataclass(self.protocol) and not isinstance(self.protocol, type):
            protocol |= asdict(self.protocol)
        return {
            "task": self.name,
            "protocol": protocol,
            "sampling": asdict(self.sampling),
            "max_context_tokens": self.max_context_tokens,
        }

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        room = max_model_len - self.sampling.max_tokens
        ids = self.protocol.prompt_ids(tokenizer, record.context, record.question)
        if len(ids) <= min(room, self.max_context_tokens or room):
            return Prompt(ids, cut=False)  # the usual case costs one tokenization
        budget = room - self.protocol.prompt_overhead(tokenizer, record.question)
        if self.max_context_tokens is not None:
            budget = min(budget, self.max_context_tokens)
        while budget >= 2:
            context, cut = middle_truncated(record.context, encoding.text_tokenizer(tokenizer, record.context), budget)
            ids = self.protocol.prompt_ids(tokenizer, context, record.question)
            if len(ids) <= room:
                return Prompt(ids, cut)
            # Tokens merge differently once the cut halves stand in the prompt, so a few more may have to go.
            budget -= len(ids) - room
        raise PromptTooLong(
            f"record {record.id!r} of task {self.name!r}: question and instructions leave no room for the context: "
            f"the model takes {max_model_len} tokens and {self.sampling.max_tokens} are kept for the answer; "
            f"lower sampling.max_tokens or raise the engine's max_model_len"
        )

    def response(self, text: str) -> str:
        return self.protocol.response(text)

    def score(self, record: QARecord, prediction: str) -> ItemScores:
        scores = answer_scores(prediction, list(record.answers))
        return ItemScores({name: scores[name] for name in self.metrics}, extract_answer(prediction) is not None)

    def gold(self, record: QARecord) -> dict[str, Any]:
        return {"input": record.question, "answers": list(record.answers)}

    def buckets(self) -> Mapping[str, Sequence[str]] | None:
        return None
