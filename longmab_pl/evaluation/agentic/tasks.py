"""One set of questions as a task for each way of asking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.after_reasoning import AfterReasoning, Scorer
from longmab_pl.evaluation.agentic.loop import AgenticTask
from longmab_pl.evaluation.agentic.styles import ADDED, STYLES, Style, prompted
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.helmet_metrics import output_metrics
from longmab_pl.evaluation.metric import ItemScores
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.results import EvaluationResult, TaskResult, macro_average
from longmab_pl.shown import quoted

SAMPLING = Sampling(temperature=0.6, top_p=1.0, presence_penalty=0.0, max_tokens=1024)
"""Sampling of the AgenticLU evaluation."""


class SubstringMatch(AfterReasoning):
    """HELMET's metrics of retrieval-augmented questions, SubEM first."""

    names = ("substring_exact_match", "exact_match", "f1", "rougeL_f1")


class RougeMatch(AfterReasoning):
    """HELMET's metrics of long-document questions, ROUGE-L F1 first."""

    names = ("rougeL_f1", "substring_exact_match", "exact_match", "f1")


class ChoiceMatch(AfterReasoning):
    """HELMET's metrics of questions with options."""

    names = ("exact_match", "substring_exact_match")


def question_scores(names: Sequence[str], answer: str, golds: Sequence[str]) -> ItemScores:
    """Return HELMET's metrics of an answer to a question without options.

    Args:
        names: the metrics.
        answer: the answer without its reasoning.
        golds: the gold answers; the best counts.
    """
    found = output_metrics(answer, golds)
    return ItemScores({name: found[name] for name in names}, bool(answer.strip()))


def check_styles(styles: Sequence[Style], setting: str) -> tuple[Style, ...]:
    """Return the styles, checked.

    Args:
        styles: names of styles.
        setting: name of the setting, for errors.

    Raises:
        ConfigError: there is none, one twice, or an unknown one.
    """
    unknown = [style for style in styles if style not in STYLES]
    if not styles or unknown or len(set(styles)) < len(styles):
        what = f"has {quoted(str(unknown[0]))}" if unknown else "is empty" if not styles else "names one twice"
        raise ConfigError(f"{setting} {what}; give some of {', '.join(STYLES)}, each once")
    return tuple(styles)


def task_of(
    style: Style,
    name: str,
    items: Sequence[BenchmarkItem],
    *,
    means: type[AfterReasoning],
    scorer: Scorer | None = None,
    sampling: Sampling,
    asking: Asking,
    prompt_tokens: int | None,
    paragraph_tokens: int,
) -> PromptedTask:
    """Return the task `<name>-<style>`.

    Args:
        style: how it asks.
        name: name of the questions.
        items: the questions.
        means: the metrics, the main one first.
        scorer: scores of an answer; None: `question_scores` of these metrics.
        sampling: decoding of every turn.
        asking: chat template and thinking mode.
        prompt_tokens: longer documents or prompts lose their middle; None: only the engine's limit cuts.
        paragraph_tokens: length of a paragraph of the agentic style.
    """
    kind = AgenticTask if style == "agentic" else PromptedTask
    task = kind(
        name=f"{name}-{style}",
        records=items,
        fill=partial(prompted, style) if style != "agentic" else _context,
        scorer=scorer or partial(question_scores, means.names),
        asking=asking,
        sampling=sampling,
        prompt_tokens=prompt_tokens,
        template=ADDED.get(style, style),
        means=means,
    )
    return replace(task, paragraph_tokens=paragraph_tokens) if isinstance(task, AgenticTask) else task


def _context(item: BenchmarkItem) -> str:
    return item.context


def tasks_of_style(result: EvaluationResult, style: Style) -> list[str]:
    """Return the names of the tasks that were asked in a style."""
    return [name for name in result.tasks if name.endswith(f"-{style}")]


def style_scores(result: EvaluationResult, styles: Sequence[Style]) -> dict[str, Score]:
    """Return the mean of the tasks' main metrics for each style, and as `score` that of the last style."""
    found: dict[str, Score] = {}
    for style in styles:
        tasks = {name: _main(result.tasks[name]) for name in tasks_of_style(result, style)}
        if tasks:
            means, intervals = macro_average(tasks)
            found[style] = Score(means["score"], *intervals["score"])
    return {"score": found[styles[-1]], **found}


def _main(task: TaskResult) -> TaskResult:
    """Return a result with only its main metric, called `score`."""
    items = tuple(replace(item, scores={"score": item.scores[task.metric]}) for item in task.items)
    return replace(task, scores={"score": task.scores[task.metric]}, items=items)
