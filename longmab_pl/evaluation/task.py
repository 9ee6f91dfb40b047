"""The interface of evaluation tasks: records, their prompts, and the scoring of predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

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


@dataclass(frozen=True)
class Turn:
    """A further request about a record.

    Args:
        prompt: its prompt.
        sampling: how to answer it.
    """

    prompt: Prompt
    sampling: Sampling


class SeveralTurns(ABC):
    """A base class of tasks that ask about a record more than once: think first, then answer.

    One response is the prediction, usually the last; the others are kept beside it (`steps`). A record that was
    interrupted between two turns starts again with the first.

    Attributes:
        answer_place: place of the prediction among the responses.
    """

    answer_place: ClassVar[int] = -1

    @abstractmethod
    def next_turn(self, record: QARecord, said: Sequence[str], tokenizer: Any, max_model_len: int) -> Turn | None:
        """Return the next request, or None if the last response is the answer.

        Args:
            record: the record.
            said: the responses so far, at least one, each as `EvaluationTask.response` returns it.
            tokenizer: a Hugging Face tokenizer.
            max_model_len: longest prompt and answer together, in tokens.

        Raises:
            PromptTooLong: the parts of the prompt that cannot be cut do not fit.
        """


class LikelihoodTask(ABC):
    """A base class of tasks that choose an option by the probability that the model gives it; nothing is generated."""

    @abstractmethod
    def options(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Sequence[Prompt]:
        """Return the prompt of each option, with the option at its end; what all of them begin with is not scored.

        Raises:
            PromptTooLong: the parts of the prompt that cannot be cut do not fit.
        """

    @abstractmethod
    def chosen(self, record: QARecord, number: int) -> str:
        """Return the prediction that means the option with this number, from 0."""
