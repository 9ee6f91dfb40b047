"""Rows of a data set, token by token, as they will be trained or asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from longmab_pl.data.chunking import chunk_spans
from longmab_pl.data.readers import BadRecord, checked_records
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError, PromptTooLong
from longmab_pl.evaluation.qa import QATask
from longmab_pl.pairs.kinds import Kind
from longmab_pl.pairs.readers import read_answered
from longmab_pl.pairs.types import Demonstration, PreferencePair
from longmab_pl.prompts.formats import PromptFormat
from longmab_pl.training.believed_ids import with_believed_ids
from longmab_pl.training.tokenization import tokenize, tokenize_demonstration

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class InspectedPair:
    """A preference row as it will be trained.

    Args:
        line: line in the file (row number if there are no lines).
        kind: `preference`.
        prompt: the prompt as the model reads it, control tokens included; None for a row that is left out.
        prompt_ids: token ids of the prompt.
        chosen: text of the better answer.
        chosen_ids: token ids of the better answer, with its end token.
        chosen_tokens: the same tokens as text.
        chosen_compared: which of them the loss compares; the others are context only.
        rejected, rejected_ids, rejected_tokens, rejected_compared: the same for the worse answer.
        skipped: why the row is left out; None if it is trained on.
    """

    line: int
    kind: Kind = "preference"
    prompt: str | None = None
    prompt_ids: list[int] | None = None
    chosen: str | None = None
    chosen_ids: list[int] | None = None
    chosen_tokens: list[str] | None = None
    chosen_compared: list[bool] | None = None
    rejected: str | None = None
    rejected_ids: list[int] | None = None
    rejected_tokens: list[str] | None = None
    rejected_compared: list[bool] | None = None
    skipped: str | None = None


@dataclass(frozen=True)
class InspectedAnswer:
    """A row without a worse answer as it will be trained.

    Args:
        line: line in the file (row number if there are no lines).
        kind: `answer`.
        prompt: the prompt as the model reads it, control tokens included; None for a row that is left out.
        prompt_ids: token ids of the prompt.
        answer: text of the answer.
        answer_ids: token ids of the answer, with its end token.
        answer_tokens: the same tokens as text.
        answer_learned: which of them are learned; the others are context only.
        chosen, chosen_ids, chosen_tokens, rejected, rejected_ids, rejected_tokens: None; nothing is compared.
        skipped: why the row is left out; None if it is trained on.
    """

    line: int
    kind: Kind = "answer"
    prompt: str | None = None
    prompt_ids: list[int] | None = None
    answer: str | None = None
    answer_ids: list[int] | None = None
    answer_tokens: list[str] | None = None
    answer_learned: list[bool] | None = None
    chosen: None = None
    chosen_ids: None = None
    chosen_tokens: None = None
    rejected: None = None
    rejected_ids: None = None
    rejected_tokens: None = None
    skipped: str | None = None


@dataclass(frozen=True)
class InspectedRecord:
    """A question-answering record as it will be asked.

    Args:
        line: line in the file (row number if there are no lines).
        kind: `record`.
        prompt: the whole context with the question as the model reads it; None for a record that is left out.
        prompt_ids: token ids of the prompt.
        answers: the gold answers.
        chunks: the arms of the bandit: index, characters [start, end), tokens and text of each.
        cut_tokens: number of tokens cut from the middle of the context so that prompt and answer fit the model.
        chosen, chosen_ids, chosen_tokens, rejected, rejected_ids, rejected_tokens: None; a record has no answers yet.
        skipped: why the record is left out; None if it is asked.
    """

    line: int
    kind: Kind = "record"
    prompt: str | None = None
    prompt_ids: list[int] | None = None
    answers: list[str] | None = None
    chunks: list[dict[str, Any]] | None = None
    cut_tokens: int | None = None
    chosen: None = None
    chosen_ids: None = None
    chosen_tokens: None = None
    rejected: None = None
    rejected_ids: None = None
    rejected_tokens: None = None
    skipped: str | None = None


Inspected = InspectedPair | InspectedAnswer | InspectedRecord


def inspected_answered(
    source: str,
    kind: Kind,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    arguments: Mapping[str, Any],
    split: str = "train",
    columns: Mapping[str, str] | None = None,
) -> Iterator[InspectedPair | InspectedAnswer]:
    """Yield every row of a preference or SFT file as it will be trained, or with the reason why it is left out.

    Args:
        source: as for `pairs.readers.read_answered`.
        kind: the source's, for rows that cannot be read.
        tokenizer: the policy's tokenizer.
        max_length: maximum tokens of prompt and longer answer; None: no limit.
        arguments: further variables of the chat template.
        split: split of a folder or a data set.
        columns: the data's column names, if they differ.
    """
    for row in read_answered(source, split, columns):
        if isinstance(row, BadRecord):
            skipped = f"{row.field}: {row.message}" if row.field else row.message
            unread = InspectedAnswer if kind == "answer" else InspectedPair
            yield unread(row.line, skipped=skipped)
        elif isinstance(row, Demonstration):
            yield _answer(row, tokenizer, max_length, arguments)
        else:
            yield _pair(row, tokenizer, max_length, arguments)


def _answer(
    row: Demonstration, tokenizer: PreTrainedTokenizerBase, max_length: int | None, arguments: Mapping[str, Any]
) -> InspectedAnswer:
    line, text = int(row.where.rpartition(":")[2]), row.answer.text
    try:
        row = with_believed_ids(row, tokenizer)
        example = tokenize_demonstration(row, tokenizer, max_length=max_length, arguments=arguments)
    except (DataError, ConfigError) as error:
        return InspectedAnswer(line, answer=text, skipped=str(error))
    ids = list(example.completion_ids)
    return InspectedAnswer(
        line,
        prompt=decoded(tokenizer, example.prompt_ids),
        prompt_ids=list(example.prompt_ids),
        answer=text,
        answer_ids=ids,
        answer_tokens=_tokens(tokenizer, ids),
        answer_learned=list(example.completion_mask or [True] * len(ids)),
    )


def _pair(
    pair: PreferencePair, tokenizer: PreTrainedTokenizerBase, max_length: int | None, arguments: Mapping[str, Any]
) -> InspectedPair:
    line = int(pair.where.rpartition(":")[2])
    try:
        pair = with_believed_ids(pair, tokenizer)
        example = tokenize(pair, tokenizer, max_length=max_length, arguments=arguments)
    except (DataError, ConfigError) as error:
        return InspectedPair(line, chosen=pair.chosen, rejected=pair.rejected, skipped=str(error))
    chosen, rejected = list(example.chosen_ids), list(example.rejected_ids)
    return InspectedPair(
        line,
        prompt=decoded(tokenizer, example.prompt_ids),
        prompt_ids=list(example.prompt_ids),
        chosen=pair.chosen,
        chosen_ids=chosen,
        chosen_tokens=_tokens(tokenizer, chosen),
        chosen_compared=list(example.chosen_mask or [True] * len(chosen)),
        rejected=pair.rejected,
        rejected_ids=rejected,
        rejected_tokens=_tokens(tokenizer, rejected),
        rejected_compared=list(example.rejected_mask or [True] * len(rejected)),
    )


def inspected_records(
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    limit: int | None,
    *,
    prompt_format: PromptFormat,
    max_tokens: int = 1024,
    chunk_size: int = 1500,
    split: str = "train",
    fields: Mapping[str, str] | None = None,
) -> Iterator[InspectedRecord]:
    """Yield every record as it will be asked, or with the reason why it is left out.

    Args:
        source: as for `data.readers.read_records`.
        tokenizer: the model's tokenizer.
        limit: the model's limit in tokens; None: no limit.
        prompt_format: how context and question become a prompt.
        max_tokens: tokens reserved for the answer.
        chunk_size: tokens in a chunk.
        split: split of a folder or a data set.
        fields: the data's field names, if they differ.
    """
    for line, record in checked_records(source, split, fields):
        if isinstance(record, BadRecord):
            field = f"{record.field}: " if record.field else ""
            yield InspectedRecord(line, skipped=field + record.message)
            continue
        task = QATask("inspect", [record], prompt_format, Sampling(max_tokens=max_tokens))
        yield _record(line, record, task, tokenizer, limit, chunk_size)


def _record(
    line: int, record: QARecord, task: QATask, tokenizer: PreTrainedTokenizerBase, limit: int | None, chunk_size: int
) -> InspectedRecord:
    try:
        whole = task.protocol.prompt_ids(tokenizer, record.context, record.question)
        prompt = task.prompt(record, tokenizer, limit or len(whole) + task.sampling.max_tokens)
        spans = chunk_spans(record.context, tokenizer, chunk_size)
    except (DataError, ConfigError, PromptTooLong) as error:
        return InspectedRecord(line, answers=list(record.answers), skipped=str(error))
    chunks = [
        {"index": c.index, "start": c.start, "end": c.end, "tokens": c.tokens, "text": c.of(record.context)}
        for c in spans
    ]
    return InspectedRecord(
        line,
        prompt=decoded(tokenizer, prompt.ids),
        prompt_ids=list(prompt.ids),
        answers=list(record.answers),
        chunks=chunks,
        cut_tokens=len(whole) - len(prompt.ids),
    )


def as_json(row: Inspected) -> str:
    """Return a row as one line of JSON."""
    return json.dumps(asdict(row), ensure_ascii=True)


def decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return token ids as text, control tokens included."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _tokens(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Return each token as text; a token that is only a part of a character as its name in the vocabulary."""
    texts = [decoded(tokenizer, [number]) for number in ids]
    names = tokenizer.convert_ids_to_tokens(list(ids))
    return [str(name) if "\ufffd" in text or not text else text for text, name in zip(texts, names, strict=True)]
