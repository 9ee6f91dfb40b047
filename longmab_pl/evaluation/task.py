"""The interface of evaluation tasks: records, their prompts, and the scoring of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling

if TYPE_CHECKING:
    from longmab_pl.evaluation.metric import RecordMetric


@dataclass(frozen=True)
class Prompt:
    """One record's prompt.

    Args:
        ids: token ids, chat template included; with the task's `max_tokens` they fit the engine.
        cut: whether something was cut from the middle to make it fit.
    """

    ids: tuple[int, ...]
    cut: bool


class EvaluationTask(Protocol):
    """A named set of records with one way to ask and one way to score (`QATask`, `LongBenchTask`)."""

    @property
    def name(self) -> str:
        """The task's name, unique in one run; also the stem of the predictions file."""

    @property
    def records(self) -> Sequence[QARecord]: ...

    @property
    def sampling(self) -> Sampling: ...

    def metric(self) -> RecordMetric:
        """Return a new metric, which scores the predictions of one evaluation."""

    def settings(self) -> dict[str, Any]:
        """Return everything beside the record that a prediction depends on, as JSON.

        Predictions made under other settings are not reused.
        """

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        """Return the record's prompt. Raises `PromptTooLong` if the parts that cannot be cut do not fit."""

    def response(self, text: str) -> str:
        """Return the text to score and keep, given what the engine generated."""

    def gold(self, record: QARecord) -> dict[str, Any]:
        """Return the record's gold data for the predictions file and the metric.

        It holds `answers`, and the labels of a classification task as `all_classes`.
        """

    def buckets(self) -> Mapping[str, Sequence[str]] | None:
        """Return length buckets (name to record ids) that are also averaged separately, or None."""
