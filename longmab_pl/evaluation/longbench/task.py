"""LongBench's protocol: fill the task's prompt, cut its middle, generate greedily, score as the official program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import middle_truncated
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, PromptTooLong
from longmab_pl.evaluation.benchmark_files import sample
from longmab_pl.evaluation.longbench.loading import BadRow, LongBenchItem, load_items, tasks_there, without_missing
from longmab_pl.evaluation.longbench.metrics import spec_metric
from longmab_pl.evaluation.longbench.table import (
    BUCKETS,
    TaskSpec,
    length_bucket,
    official_settings,
)
from longmab_pl.evaluation.metric import RecordMetric
from longmab_pl.evaluation.middle_cut import surely_longer
from longmab_pl.evaluation.task import Prompt
from longmab_pl.evaluation.thinking import WithoutReasoning
from longmab_pl.prompts import encoding
from longmab_pl.shown import quoted, tell


@dataclass(frozen=True)
class LongBenchTask:
    """One LongBench, LongBench-E, InfiniteBench or custom task with its records.

    Args:
        name: name as in the official file names; LongBench-E names end in `_e`.
        records: the records to ask.
        spec: prompt, metric and other settings.
        max_prompt_tokens: filled prompts above this many tokens keep their first and last half (official: 3,500 for 4k
            models, 7,500, 15,500, 31,500), before the chat template; None: only the engine's own limit cuts.
        presence_penalty: 0 is official; the LongMab-PO authors evaluate with 1.0.
        fixed_classification: score without the official list-mutation bug (`scoring.classification`).
        template_arguments: further variables of the chat template, such as `{enable_thinking: false}`.
        score_reasoning: score reasoning too, as the official program does.
    """

    name: str
    records: Sequence[LongBenchItem]
    spec: TaskSpec
    max_prompt_tokens: int | None = None
    presence_penalty: float = 0.0
    fixed_classification: bool = False
    template_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    score_reasoning: bool = False

    def __post_init__(self) -> None:
        if not self.records:
            raise ConfigError(f"evaluation task {self.name!r} has no records")
        setting = f"max_prompt_tokens of evaluation task {self.name!r}"
        at_least(setting, self.max_prompt_tokens, 2, "use at least 2", or_null=True)

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            temperature=0.0,
            top_p=1.0,
            presence_penalty=self.presence_penalty,
            max_tokens=self.spec.max_new_tokens,
        )

    def metric(self) -> RecordMetric:
        inner = spec_metric(self.spec, fixed_classification=self.fixed_classification)
        return WithoutReasoning(inner, self.template_arguments, score_reasoning=self.score_reasoning)

    def settings(self) -> dict[str, Any]:
        settings = {
            "task": self.name,
            "prompt": self.spec.prompt,
            "chat": self.spec.chat,
            "sampling": asdict(self.sampling),
            "max_prompt_tokens": self.max_prompt_tokens,
        }
        return settings | ({"template_arguments": dict(self.template_arguments)} if self.template_arguments else {})

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        room = max_model_len - self.spec.max_new_tokens
        # One pass over the template: braces inside a document are never substituted again.
        filled = self.spec.prompt.format(context=record.context, input=record.question)
        reader = encoding.text_tokenizer(tokenizer, filled)
        most = min(room, self.max_prompt_tokens or room)
        if not surely_longer(filled, reader, most):
            ids = self._encode(filled, tokenizer)
            if len(ids) <= most:
                return Prompt(ids, cut=False)  # the usual case costs one tokenization
        budget = room - (len(self._encode("", tokenizer)) if self.spec.chat else 0)
        budget = min(budget, self.max_prompt_tokens or budget)
        while budget >= 2:
            text, cut = middle_truncated(filled, reader, budget)
            ids = self._encode(text, tokenizer)
            if len(ids) <= room:
                return Prompt(ids, cut)
            # Decoding and encoding again may give a few tokens more than were kept.
            budget -= len(ids) - room
        raise PromptTooLong(
            f"record {quoted(record.id)} of task {self.name!r}: the chat template leaves no room for the prompt: the "
            f"model takes {max_model_len} tokens and {self.spec.max_new_tokens} are kept for the answer; "
            f"raise the engine's max_model_len"
        )

    def response(self, text: str) -> str:
        return text

    def gold(self, record: QARecord) -> dict[str, Any]:
        gold: dict[str, Any] = {"answers": list(record.answers), "all_classes": None, "length": None}
        if isinstance(record, LongBenchItem):
            gold["all_classes"] = list(record.all_classes) if record.all_classes is not None else None
            gold["length"] = record.length
        return gold

    def buckets(self) -> Mapping[str, Sequence[str]] | None:
        if not (self.spec.in_e and self.name.endswith("_e")):
            return None
        ids: dict[str, list[str]] = {name: [] for name, _ in BUCKETS}
        for record in self.records:
            ids[length_bucket(record.length or 0)].append(record.id)
        return ids

    def _encode(self, text: str, tokenizer: Any) -> tuple[int, ...]:
        if self.spec.chat and getattr(tokenizer, "chat_template", None):
            # The template writes the special tokens itself; the official program adds a second start token here.
            messages = [{"role": "user", "content": text}]
            return encoding.chat(tokenizer, messages, arguments=self.template_arguments).ids
        return encoding.plain(tokenizer, text).ids


def longbench_tasks(
    data: Path | str,
    names: Sequence[str] | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    fields: Mapping[str, str] | None = None,
    official: Path | str | None = None,
    max_prompt_tokens: int | None = None,
    presence_penalty: float = 0.0,
    fixed_classification: bool = False,
    template_arguments: Mapping[str, Any] | None = None,
) -> tuple[list[LongBenchTask], list[BadRow]]:
    """Load tasks by name.

    Args:
        data: a folder or zip of the official JSONL files, one JSONL file, or a hub name (`loading.load_items`).
        names: task names, LongBench-E names (`qasper_e`), groups ("longbench", "longbench_e", "infinitebench"), or the
            stem of any other JSONL file there, which becomes a custom QA task. Of a group, files that are not there
            are named on stderr and left out. None: the tasks of every local JSONL file, and all of LongBench from the
            hub.
        limit: at most this many records per task, a seeded random sample; None: all.
        seed: random seed of the sample.
        fields: the data's names of `id, question, answers, context` where they are others.
        official: folder with the official `dataset2prompt.json` / `dataset2maxlen.json`, to reproduce published
            numbers; None: our own wording.
        max_prompt_tokens, presence_penalty, fixed_classification, template_arguments: see `LongBenchTask`.

    Returns:
        The tasks, and the rows that could not be used (to be reported; the others are scored).

    Raises:
        ConfigError: an unknown task or wrong official settings.
        DataError: a missing file, or a task without a usable row.
    """
    prompts, lengths = official_settings(official) if official is not None else ({}, {})
    tasks, bad_rows = [], []
    wanted, notes = without_missing(data, names) if names is not None else (tasks_there(data), [])
    for note in notes:
        tell(f"note: {note}")
    for name in wanted:
        items, spec, bad = load_items(data, name, fields=fields)
        bad_rows += bad
        base = spec.name
        spec = replace(
            spec, prompt=prompts.get(base, spec.prompt), max_new_tokens=lengths.get(base, spec.max_new_tokens)
        )
        tasks.append(
            LongBenchTask(
                name=name,
                records=sample(items, limit, seed),
                spec=spec,
                max_prompt_tokens=max_prompt_tokens,
                presence_penalty=presence_penalty,
                fixed_classification=fixed_classification,
                template_arguments=template_arguments or {},
            )
        )
    return tasks, bad_rows
