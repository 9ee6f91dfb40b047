"""Thinking models under suites with prompt formats: the setting, and metrics of what follows the reasoning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.asking import SETTING, Asking
from longmab_pl.evaluation.metric import ItemScores, RecordMetric
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.prompts.formats import DirectAnswer, PromptFormat


class WithoutReasoning(RecordMetric):
    """Another metric's scores of the part of each prediction that follows the reasoning.

    Args:
        inner: the metric.
        template_arguments: those of the prompts; with `enable_thinking: true`, a prediction whose reasoning never ends
            has no answer.
        score_reasoning: score the whole prediction, as programs do that do not separate reasoning.
    """

    def __init__(
        self, inner: RecordMetric, template_arguments: Mapping[str, Any], *, score_reasoning: bool = False
    ) -> None:
        self.names = inner.names  # type: ignore[misc]
        super().__init__()
        self.inner = inner
        self.asking = Asking(enable_thinking=template_arguments.get(SETTING), score_reasoning=score_reasoning)

    def score(self, prediction: str, answers: Sequence[str], all_classes: Sequence[str] | None = None) -> ItemScores:
        answer = self.asking.scored(prediction)
        return replace(self.inner.score(answer, answers, all_classes), reasoned=answer != prediction)


def with_thinking(prompt_format: PromptFormat, enable_thinking: bool | None) -> PromptFormat:
    """Return the prompt format with thinking on or off in its chat template; None leaves it as it is.

    Raises:
        ConfigError: the prompt format has no such setting, or starts the answer for a model that is to think first.
    """
    if enable_thinking is None:
        return prompt_format
    if enable_thinking and isinstance(prompt_format, DirectAnswer):
        raise ConfigError(
            "enable_thinking is true, and DirectAnswer starts the answer, which leaves no place to think; set "
            "prompt_format: longmab_pl.prompts.ReasonThenAnswer and a longer answer"
        )
    if not is_dataclass(prompt_format) or isinstance(prompt_format, type):
        raise ConfigError(
            f"enable_thinking is {str(enable_thinking).lower()}, and {type(prompt_format).__name__} is no data class "
            "with template_arguments; set thinking in the prompt format itself"
        )
    arguments = {**prompt_format.template_arguments, SETTING: enable_thinking}
    changed: PromptFormat = replace(prompt_format, template_arguments=arguments)
    return changed


def thinking_note(tokenizer: Any, tasks: Sequence[EvaluationTask]) -> str:
    """Return a note for tasks that leave it to the chat template whether the model thinks; "" if there are none.

    Args:
        tokenizer: a Hugging Face tokenizer.
        tasks: the tasks of an evaluation.
    """
    if SETTING not in str(tokenizer.chat_template or ""):
        return ""
    left = [task for task in tasks if not _is_set(task.settings())]
    if not left:
        return ""
    tokens = sorted({task.sampling.max_tokens for task in left})
    kept = f"{tokens[0]:,}" if len(tokens) == 1 else f"{tokens[0]:,} to {tokens[-1]:,}"
    return (
        f"note: this model's chat template has {SETTING}, and {', '.join(task.name for task in left[:3])}"
        f"{' and others' if len(left) > 3 else ''} leave it at the template's default; thoughts count among the {kept} "
        f"tokens of an answer. Set {SETTING} to true or false"
    )


def _is_set(settings: Mapping[str, Any]) -> bool:
    """Return whether a task starts the answer itself, or its settings, at any depth, say whether the model thinks."""
    if settings.get("answer_prefix") is True or settings.get(SETTING) is not None:
        return True
    return any(_is_set(inner) for inner in settings.values() if isinstance(inner, Mapping))
