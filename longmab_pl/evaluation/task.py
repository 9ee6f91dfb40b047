"""What the runner asks of an evaluation: records, how one becomes a prompt, and how its prediction is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling


@dataclass(frozen=True)
class Prompt:
    """One record's prompt.

    Args:
        ids: token ids, chat template included; with the task's `max_tokens` they fit the engine.
        cut: whether something was cut from the middle to make it fit.
    """

    ids: tuple[int, ...]
    cut: bool


@dataclass(frozen=True)
class ItemScores:
    """The scores of one prediction.

    Args:
        scores: metric name to score, in 0..1.
        well_formed: whether an answer of the asked form could be read from the prediction.
    """

    scores: Mapping[str, float]
    well_formed: bool


class EvaluationTask(Protocol):
    """A named set of records with one way to ask and one way to score (`QATask`, `LongBenchTask`)."""

    @property
    def name(self) -> str:
        """Unique in one run; also the stem of the predictions file."""

    @property
    def records(self) -> Sequence[QARecord]: ...

    @property
    def sampling(self) -> Sampling: ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores that `score` gives, the main one first."""

    def settings(self) -> dict[str, Any]:
        """Everything beside the record that a prediction depends on, as JSON; a change makes old predictions stale."""

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        """The record's prompt. Raises `PromptTooLong` if the parts that cannot be cut do not fit."""

    def response(self, text: str) -> str:
        """The text to score and keep, given what the engine generated."""

    def score(self, record: QARecord, prediction: str) -> ItemScores: ...

    def gold(self, record: QARecord) -> dict[str, Any]:
        """What the predictions file keeps of the record beside its id."""

    def buckets(self) -> Mapping[str, Sequence[str]] | None:
        """Length buckets (name to record ids) that are also averaged on their own, or None."""
