"""Results in which a judge's ratings stand in place of string metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from longmab_pl.data.records import QARecord
from longmab_pl.errors import DataError
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.judge import Judge, JudgeSession, RatingQuestion
from longmab_pl.evaluation.predictions import predicted_texts
from longmab_pl.evaluation.results import EvaluationResult, task_result
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.rewards.llm_judge.attempts import Outcome
from longmab_pl.shown import shown

METRIC = "rating"
"""Name of the judge's score."""

Questions = Callable[[EvaluationTask, QARecord, str], Sequence[RatingQuestion]]
"""Function from a task, a record and the answer to it to the questions about it, named as they like."""

ScoreOf = Callable[[EvaluationTask, Sequence[float | None]], float | None]
"""Function from the ratings of a record's questions (None: no verdict) to its score in 0..1; None: none has one."""


def judged_result(
    result: EvaluationResult,
    tasks: Sequence[EvaluationTask],
    judge: Judge,
    folder: Path,
    questions: Questions,
    score: ScoreOf,
    asking: Asking,
    title: str,
) -> EvaluationResult:
    """Return a result with a judge's scores; a record without a verdict is not scored, and says why in `skipped`.

    Args:
        result: result of the string metrics, whose predictions are in the folder.
        tasks: its tasks.
        judge: the judge.
        folder: folder of the predictions; the judge's replies go there too.
        questions: what is asked about a prediction.
        score: how ratings become a score.
        asking: says which part of a prediction is its answer, the part that is rated.
        title: title of the progress bar.

    Raises:
        DataError: no record of a task has a verdict.
        EngineError: the judge failed; the same call continues.
    """
    asked: list[RatingQuestion] = []
    names: dict[tuple[str, str], list[str]] = {}  # (task, record id) -> names of its questions
    for task in tasks:
        texts = predicted_texts(folder, task)
        done = {item.id for item in result.tasks[task.name].items}
        for record in task.records:
            if record.id in done:
                for question in questions(task, record, asking.scored(texts[record.id])):
                    named = replace(question, name=f"{task.name}/{record.id}/{question.name}")
                    asked.append(named)
                    names.setdefault((task.name, record.id), []).append(named.name)
    with JudgeSession(judge, folder, title) as session:
        outcomes = session.ratings(asked)
        judged_by, replies = session.name, session.replies
    rated = {}
    for task in tasks:
        old = result.tasks[task.name]
        items, missing = [], dict(old.skipped)
        for item in old.items:
            found = [outcomes[name] for name in names.get((task.name, item.id), [])]
            value = score(task, [outcome.value for outcome in found])
            if value is None:
                missing[item.id] = f"record {shown(item.id)}: the judge gave no rating ({_reason(found)})"
            else:
                items.append(replace(item, scores={METRIC: value}, well_formed=True))
        if not items:
            raise DataError(
                f"evaluation task {task.name!r}: the judge {judge.model} rated none of {len(old.items)} answers; the "
                f"first: {next(iter(missing.values()))}. Its replies are in {replies}: use another judge, or an engine "
                "with structured output"
            )
        rated[task.name] = task_result(task.name, [METRIC], items, missing, None)
    settings = {name: {**values, "judge": judged_by} for name, values in result.settings.items()}
    return replace(result, settings=settings).with_tasks(rated)


def unrated(result: EvaluationResult) -> Mapping[str, int]:
    """Return the number of records without a rating by task."""
    return {name: len(task.skipped) for name, task in result.tasks.items()}


def _reason(outcomes: Sequence[Outcome[float]]) -> str:
    first = next(iter(outcomes), None)
    if first is None:
        return "nothing was asked"
    return f"{first.missing}; it said {shown(first.reply)!r}" if first.attempts else first.missing
