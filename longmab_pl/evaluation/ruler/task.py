"""One of RULER's tasks for the runner: examples of every length, official scoring."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import PromptTooLong
from longmab_pl.evaluation.after_reasoning import AccuracyAfterReasoning
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.metric import ItemScores, RecordMetric
from longmab_pl.evaluation.ruler.scoring import clean
from longmab_pl.evaluation.ruler.tasks import score_of
from longmab_pl.evaluation.task import Prompt

BUCKET = "length "
"""Prefix before the number of tokens in the name of a length's bucket."""


@dataclass(frozen=True)
class RULERRecord(QARecord):
    """An example; `context` is the user's turn, `question` how the answer starts, `answers` all references.

    Args:
        length: length in tokens that it was made for.
        tokens: its tokens, chat template and answer included.
        ids: token ids of its prompt as it was counted, so that a long text is tokenized once; four bytes each.
    """

    length: int = 0
    tokens: int = 0
    ids: array[int] = field(default_factory=lambda: array("i"), compare=False, repr=False)


@dataclass(frozen=True)
class RULERTask:
    """A task of RULER.

    Args:
        name: one of `tasks.TASKS`.
        records: examples of all lengths.
        asking: chat template and thinking mode.
        answer_prefix: start the answer for the model.
        new_tokens: longest answer in tokens.
    """

    name: str
    records: Sequence[RULERRecord]
    asking: Asking
    answer_prefix: bool
    new_tokens: int

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=self.new_tokens)

    def metric(self) -> RecordMetric:
        return AccuracyAfterReasoning(self.asking, self._scored)

    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "asking": self.asking.settings(),
            "answer_prefix": self.answer_prefix,
            "sampling": asdict(self.sampling),
        }

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        ids = tuple(record.ids) if isinstance(record, RULERRecord) else ()
        ids = ids or self.asking.ids(tokenizer, record.context, record.question if self.answer_prefix else "")
        if len(ids) + self.new_tokens > max_model_len:
            raise PromptTooLong(
                f"record {record.id!r} of task {self.name!r}: {len(ids)} prompt tokens and {self.new_tokens} for the "
                f"answer are more than the {max_model_len} that the model takes; leave this length out"
            )
        return Prompt(ids, cut=False)

    def response(self, text: str) -> str:
        return text

    def gold(self, record: QARecord) -> dict[str, Any]:
        assert isinstance(record, RULERRecord)
        return {"answers": list(record.answers), "answer_prefix": record.question, "length": record.length}

    def buckets(self) -> Mapping[str, Sequence[str]]:
        """Return the ids of the records of each length."""
        by_length: dict[str, list[str]] = {}
        for record in self.records:
            by_length.setdefault(f"{BUCKET}{record.length}", []).append(record.id)
        return by_length

    def _scored(self, answer: str, references: Sequence[str]) -> ItemScores:
        text = clean(answer)
        return ItemScores({"accuracy": score_of(self.name)(text, references)}, bool(text))
