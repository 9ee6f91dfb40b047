"""A benchmark's items as a task: one filled prompt each, cut in the middle, and a score of the benchmark's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.task import ItemScores, Prompt


@dataclass(frozen=True)
class BenchmarkItem(QARecord):
    """An item of a benchmark.

    Args:
        options: texts to choose from.
        labels: what the score compares with, where that is more than `answers`.
        groups: name of a breakdown to the item's group in it ("difficulty" to "easy").
        prompt: all of the prompt, where no template is filled.
    """

    options: tuple[str, ...] = ()
    labels: Any = None
    groups: Mapping[str, str] = field(default_factory=dict)
    prompt: str = ""


@dataclass(frozen=True)
class PromptedTask:
    """A named set of items.

    Args:
        name: unique in one run; the stem of the predictions file.
        records: the items.
        fill: an item to the text of the user's turn.
        scorer: an item and what the model wrote, reasoning cut off, to scores.
        metrics: names of the scores, the main one first.
        asking: chat template and thinking mode.
        sampling: decoding; `max_tokens` is the longest answer.
        prompt_tokens: longer prompts lose their middle, before the chat template; None: only the engine's limit cuts.
        template: what `fill` puts around an item, for the settings.
    """

    name: str
    records: Sequence[BenchmarkItem]
    fill: Callable[[BenchmarkItem], str]
    scorer: Callable[[BenchmarkItem, str], ItemScores]
    metrics: tuple[str, ...]
    asking: Asking
    sampling: Sampling
    prompt_tokens: int | None
    template: str

    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "template": self.template,
            "asking": self.asking.settings(),
            "sampling": asdict(self.sampling),
            "prompt_tokens": self.prompt_tokens,
        }

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        room = max_model_len - self.sampling.max_tokens
        what = f"record {record.id!r} of task {self.name!r}"
        return self.asking.cut(tokenizer, self.fill(_item(record)), room=room, limit=self.prompt_tokens, what=what)

    def response(self, text: str) -> str:
        return text

    def score(self, record: QARecord, prediction: str) -> ItemScores:
        return self.scorer(_item(record), self.asking.scored(prediction))

    def gold(self, record: QARecord) -> dict[str, Any]:
        item = _item(record)
        return {"answers": list(item.answers), **item.groups}

    def buckets(self) -> Mapping[str, Sequence[str]] | None:
        """The items of each group."""
        found: dict[str, list[str]] = {}
        for item in self.records:
            for name, group in item.groups.items():
                found.setdefault(f"{name} {group}", []).append(item.id)
        return found or None


def _item(record: QARecord) -> BenchmarkItem:
    assert isinstance(record, BenchmarkItem)
    return record
