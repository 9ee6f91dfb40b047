"""A benchmark's items as a task: one filled prompt each, cut in the middle, and the benchmark's own score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation.after_reasoning import AfterReasoning, Scorer
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.length_curve import length_order
from longmab_pl.evaluation.metric import RecordMetric
from longmab_pl.evaluation.task import Prompt


@dataclass(frozen=True)
class BenchmarkItem(QARecord):
    """An item of a benchmark.

    Args:
        options: texts to choose from.
        groups: the item's group ("easy") by name of the breakdown ("difficulty").
    """

    options: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptedTask:
    """A named set of items.

    Args:
        name: unique in one run; the stem of the predictions file.
        records: the items.
        fill: function from an item to the text of the user's turn.
        scorer: score of an answer without its reasoning.
        asking: chat template and thinking mode.
        sampling: decoding; `max_tokens` is the longest answer.
        prompt_tokens: longer prompts lose their middle, before the chat template; None: only the engine's limit cuts.
        template: the text that `fill` puts around an item, for the settings.
        means: the metric class, which names and averages the scores.
    """

    name: str
    records: Sequence[BenchmarkItem]
    fill: Callable[[BenchmarkItem], str]
    scorer: Scorer
    asking: Asking
    sampling: Sampling
    prompt_tokens: int | None
    template: str
    means: type[AfterReasoning] = AfterReasoning

    def metric(self) -> RecordMetric:
        return self.means(self.asking, self.scorer)

    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "template": self.template,
            "asking": self.asking.settings(),
            "sampling": asdict(self.sampling),
            "prompt_tokens": self.prompt_tokens,
        }

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        assert isinstance(record, BenchmarkItem)
        room = max_model_len - self.sampling.max_tokens
        what = f"record {record.id!r} of task {self.name!r}"
        return self.asking.cut(tokenizer, self.fill(record), room=room, limit=self.prompt_tokens, what=what)

    def response(self, text: str) -> str:
        return text

    def gold(self, record: QARecord) -> dict[str, Any]:
        assert isinstance(record, BenchmarkItem)
        return {"answers": list(record.answers), **record.groups}

    def buckets(self) -> Mapping[str, Sequence[str]] | None:
        """Return the ids of the items of each group, breakdown by breakdown, or None without groups."""
        found: dict[str, dict[str, list[str]]] = {}
        for item in self.records:
            for name, group in item.groups.items():
                found.setdefault(name, {}).setdefault(group, []).append(item.id)
        return {
            f"{name} {group}": ids
            for name, groups in found.items()
            for group, ids in sorted(groups.items(), key=lambda entry: length_order(entry[0]))
        } or None
