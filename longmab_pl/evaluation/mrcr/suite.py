"""MRCR as a suite: long chats in the model's own chat template, graded by similarity, by needles and length."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError, PromptTooLong
from longmab_pl.evaluation.after_reasoning import SimilarityAfterReasoning
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.benchmark_files import Row, parquet_rows, sample
from longmab_pl.evaluation.metric import ItemScores, RecordMetric
from longmab_pl.evaluation.model import evaluation_tokenizer
from longmab_pl.evaluation.mrcr.scoring import grade, has_prefix, length_bin
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask, Prompt
from longmab_pl.models.tokenizer import check_chat_template
from longmab_pl.shown import quoted

SOURCE = (
    "the Parquet files of the Hub data set openai/mrcr, `<n>needle/<n>needle_<i>.parquet` (revision "
    "f4c69fae7cf81f7ca26b9fee34b392a50f6b8a1d or later: earlier rows had too many needles or a wrong answer)"
)


PREFIX = 10
"""Number of random characters at the start of every answer."""


@dataclass(frozen=True)
class MRCRRecord(QARecord):
    """A chat; `context` is its JSON text, `question` the random characters that the answer starts with.

    Args:
        tokens: length of the messages and the answer, in the model's own tokens.
        messages: the chat.
    """

    tokens: int = 0
    messages: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class MRCRTask:
    """The chats with one number of needles.

    Args:
        name: the number and "needle".
        records: the chats.
        asking: thinking mode; the chat template is always used.
        new_tokens: longest answer in tokens.
    """

    name: str
    records: Sequence[MRCRRecord]
    asking: Asking
    new_tokens: int

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=self.new_tokens)

    def metric(self) -> RecordMetric:
        return SimilarityAfterReasoning(self.asking, _score)

    def settings(self) -> dict[str, Any]:
        return {"task": self.name, "asking": self.asking.settings(), "sampling": asdict(self.sampling)}

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        messages = [dict(message) for message in _chat(record).messages]
        ids = self.asking.messages_ids(tokenizer, messages)
        if len(ids) + self.new_tokens > max_model_len:
            raise PromptTooLong(
                f"record {record.id!r} of task {self.name!r}: {len(ids)} prompt tokens and {self.new_tokens} for the "
                f"answer are more than the {max_model_len} that the model takes; MRCR leaves such chats out"
            )
        return Prompt(ids, cut=False)

    def response(self, text: str) -> str:
        return text

    def gold(self, record: QARecord) -> dict[str, Any]:
        return {"answers": list(record.answers), "prefix": record.question, "tokens": _chat(record).tokens}

    def buckets(self) -> Mapping[str, Sequence[str]]:
        """Return the ids of the chats of each length bin."""
        found: dict[str, list[str]] = {}
        for record in sorted(self.records, key=lambda record: record.tokens):
            limits = length_bin(record.tokens)
            name = "other" if limits is None else f"{limits[0]}-{limits[1]}"
            found.setdefault(f"length {name}", []).append(record.id)
        return found


class MRCRSuite(Suite):
    """OpenAI MRCR: repeat the answer to the i-th of 2, 4 or 8 equal requests in a long chat, after random characters.

    A task for each number of needles; `similarity` is the official grade, `prefix` the share of answers that start as
    asked. Length bins count messages and answer in the model's own tokens (officially those of o200k_base).

    Args:
        data: folder with the Parquet files.
        needles: the numbers of needles to ask.
        longest: leave out chats of more tokens, as counted for the bins; None: only those that the model does not take.
        limit: at most this many chats for each number of needles, the same random sample every time.
        seed: random seed of the sample.
        bin_tokenizer: name or folder of the tokenizer whose tokens the length bins count (officially o200k_base, on the
            Hub as Xenova/gpt-4o); None: the model's own.
        new_tokens: longest answer; the longest official one has about 1,000 tokens.
        asking: thinking mode.
        name: name in metrics and in the folder of the predictions.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> evaluation = Evaluation(MRCRSuite("mrcr", needles=[2], longest=32768, limit=50))
    """

    def __init__(
        self,
        data: str,
        needles: Sequence[int] = (2, 4, 8),
        longest: int | None = None,
        limit: int | None = None,
        seed: int = 0,
        bin_tokenizer: str | None = None,
        new_tokens: int = 2048,
        asking: Asking | None = None,
        name: str = "mrcr",
    ) -> None:
        at_least("MRCRSuite.longest", longest, 1, or_null=True)
        at_least("MRCRSuite.limit", limit, 1, or_null=True)
        at_least("MRCRSuite.new_tokens", new_tokens, 1)
        if not needles or set(needles) - {2, 4, 8}:
            raise ConfigError(f"MRCRSuite.needles is {list(needles)}; give some of 2, 4 and 8")
        self.data = data
        self.needles = needles
        self.longest = longest
        self.limit = limit
        self.seed = seed
        self.bin_tokenizer = bin_tokenizer
        self.new_tokens = new_tokens
        self.asking = asking or Asking()
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        check_chat_template(tokenizer)
        found = []
        counting = tokenizer if self.bin_tokenizer is None else evaluation_tokenizer(self.bin_tokenizer)
        for count in self.needles:
            paths = sorted(Path(self.data).rglob(f"{count}needle*.parquet"))
            if not paths:
                raise DataError(f"{self.data} holds no {count}needle*.parquet; MRCR wants {SOURCE}")
            rows = parquet_rows(paths, SOURCE)
            records = [record_of(row, f"{count}-{i}", counting) for i, row in enumerate(rows)]
            kept = [r for r in records if self.longest is None or r.tokens <= self.longest]
            if not kept:
                raise ConfigError(f"no chat with {count} needles has at most {self.longest} tokens; raise longest")
            found.append(MRCRTask(f"{count}needle", sample(kept, self.limit, self.seed), self.asking, self.new_tokens))
        return found


def record_of(row: Row, name: str, tokenizer: Any) -> MRCRRecord:
    """Return the chat of a row. Raises `DataError` if it is not a chat."""
    text = row.text("prompt")
    try:
        messages = json.loads(text)
        chat = tuple({"role": str(message["role"]), "content": str(message["content"])} for message in messages)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{row.where}: field 'prompt' is no JSON list of messages with role and content") from error
    answer, prefix = row.text("answer"), row.text("random_string_to_prepend")
    if not answer.startswith(prefix) or len(prefix) != PREFIX:
        raise DataError(f"{row.where}: the answer does not start with the {PREFIX} characters {quoted(prefix)}")
    said = [*(message["content"] for message in chat), answer]
    tokens = sum(len(tokenizer.encode(part, add_special_tokens=False)) for part in said)
    return MRCRRecord(name, prefix, (answer,), text, tokens, chat)


def _score(answer: str, golds: Sequence[str]) -> ItemScores:
    prefix = golds[0][:PREFIX]
    starts = has_prefix(answer, prefix)
    return ItemScores({"similarity": grade(answer, golds[0], prefix), "prefix": float(starts)}, starts)


def _chat(record: QARecord) -> MRCRRecord:
    assert isinstance(record, MRCRRecord)
    return record
