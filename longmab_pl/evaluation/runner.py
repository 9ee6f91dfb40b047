"""The evaluation runner: asks tasks on an engine, scores answers as they finish, resumes an interrupted run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from longmab_pl.engines.protocol import Engine, RequestStream
from longmab_pl.errors import ConfigError, DataError, PromptTooLong
from longmab_pl.evaluation.predictions import (
    PredictionFile,
    changed_settings,
    refuse_other_settings,
)
from longmab_pl.evaluation.requests import Requests
from longmab_pl.evaluation.results import EvaluationResult, macro_average, task_result
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.evaluation.task_in_progress import TaskInProgress
from longmab_pl.live import Bar
from longmab_pl.prompts.encoding import spelled_out_note, spells_control_tokens


def evaluate(
    tasks: EvaluationTask | Sequence[EvaluationTask],
    engine: Engine,
    tokenizer: Any,
    *,
    model: str = "model",
    predictions: Path | str | None = None,
    overwrite: bool = False,
    progress: bool = True,
    desc: str = "evaluation",
    judged: bool = False,
    max_in_flight: int | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> EvaluationResult:
    """Ask every record of every task once, score the answers and return the result.

    Records with the same context are asked one after the other, so that the engine's prefix cache holds it. A record
    whose prompt cannot be made to fit is reported in `TaskResult.skipped`; the others are scored.

    Args:
        tasks: one task or several, with different names.
        engine: a started engine without open requests; it answers with the adapter that it was synced to.
        tokenizer: the model's Hugging Face tokenizer.
        model: label of model and adapter; predictions made under another label are not reused.
        predictions: folder for `<task>.jsonl` files (`PredictionFile`); finished predictions found there are not asked
            for again. None keeps nothing on disk.
        overwrite: delete predictions made under other settings instead of raising an error.
        progress: show a progress bar with the running mean of the main scores.
        desc: title of the progress bar.
        judged: a judge scores the answers afterwards, so the bar shows no score.
        max_in_flight: requests given to the engine at once; None: twice its concurrency, so that it never waits for
            the next prompt to be tokenized.
        confidence, resamples, seed: settings of the bootstrap intervals.

    Raises:
        ConfigError: no task, two of the same name, or predictions on disk that belong to other settings.
        DataError: every record of a task was skipped.
        EngineError: the engine failed; what had finished is on disk.
    """
    with closing(
        EvaluationRun(
            tasks,
            engine,
            tokenizer,
            model=model,
            predictions=predictions,
            overwrite=overwrite,
            max_in_flight=max_in_flight,
        )
    ) as run:
        run.ask(desc, progress=progress, judged=judged)
    return run.result(confidence=confidence, resamples=resamples, seed=seed)


class EvaluationRun:
    """An evaluation under way, whose questions are asked alone (`ask`) or by another loop (`streams`).

    Args:
        tasks, engine, tokenizer, model, predictions, overwrite, max_in_flight: as in `evaluate`.
        name: beginning of the requests' ids, which an engine that answers several evaluations at a time tells apart.

    Raises:
        ConfigError: as in `evaluate`.

    Example:
        >>> from contextlib import closing
        >>> tasks = QASuite("shipped:synthetic_eval", limit=2).tasks(tokenizer, SuiteContext())
        >>> with closing(EvaluationRun(tasks, engine, tokenizer, model="base")) as run:
        ...     run.ask("evaluation", progress=False)
        ...     run.result().score
        0.0
    """

    def __init__(
        self,
        tasks: EvaluationTask | Sequence[EvaluationTask],
        engine: Engine,
        tokenizer: Any,
        *,
        model: str,
        predictions: Path | str | None = None,
        overwrite: bool = False,
        max_in_flight: int | None = None,
        name: str = "evaluation",
    ) -> None:
        self.model = model
        self._held = {"max_model_len": engine.max_model_len, "weight_format": engine.weight_format}
        works = [TaskInProgress(task, task.metric()) for task in _named(tasks)]
        self._requests = Requests(engine, tokenizer, works, max_in_flight, name)
        self._seconds = 0.0
        for work in works:
            records = work.task.records
            spelled = sum(spells_control_tokens(tokenizer, [record.context, record.question]) for record in records)
            if note := spelled_out_note(f"evaluation task {work.task.name!r}", spelled, len(records)):
                print(note, file=sys.stderr)
        try:
            for work in works:
                if predictions is not None:
                    settings = _settings(work.task, model, engine.max_model_len)
                    work.file = PredictionFile(Path(predictions), work.task.name, settings, overwrite=overwrite)
                    work.resume()
        except BaseException:
            self.close()
            raise

    @property
    def left(self) -> int:
        """Number of questions that are neither answered nor skipped."""
        return self._requests.left

    @property
    def left_in_words(self) -> int:
        """Number of questions that `streams` has a stream for."""
        return self._requests.left_in_words

    def streams(self) -> Iterator[RequestStream[None]]:
        """Yield a stream of requests for every question that is left and answered in words.

        The streams may run in any order, one step at a time; each keeps its own answer. What they leave out is asked by
        `ask`.
        """
        return self._requests.streams()

    def ask(self, desc: str, *, progress: bool = True, judged: bool = False) -> None:
        """Ask all questions that are left.

        Args:
            desc: title of the progress bar.
            progress: whether to show it.
            judged: a judge scores the answers afterwards, so the bar shows no score.

        Raises:
            EngineError: the engine failed; what had finished is on disk.
        """
        run, started = self._requests, time.monotonic()
        total = sum(len(work.task.records) for work in run.works)
        with closing(Bar(desc, total, "questions", hidden=not progress)) as bar:
            bar.update(sum(len(work.items) + len(work.skipped) for work in run.works))
            for _ in run.answers():
                bar.update(1, "rated by a judge afterwards" if judged else f"score {run.running_score():.2f}")
        self._seconds += time.monotonic() - started

    def close(self) -> None:
        """Close the predictions' files; safe to call twice."""
        for work in self._requests.works:
            if work.file is not None:
                work.file.close()

    def result(self, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> EvaluationResult:
        """Return the result, once all is asked. Its seconds are those of `ask`.

        Args:
            confidence, resamples, seed: settings of the bootstrap intervals.

        Raises:
            DataError: every record of a task was skipped.
        """
        run = self._requests
        return replace(
            _result(run.works, self.model, self._held, confidence, resamples, seed),
            seconds=self._seconds,
            prompt_tokens=run.prompt_tokens,
            cached_tokens=run.cached_tokens,
            completion_tokens=run.completion_tokens,
        )


def rescore(
    tasks: EvaluationTask | Sequence[EvaluationTask],
    tokenizer: Any,
    *,
    model: str,
    predictions: Path | str,
    max_model_len: int,
    limit_is_known: bool = False,
    weight_format: str = "",
    overwrite: bool = False,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> EvaluationResult | None:
    """Return the result of an evaluation whose predictions are all on disk, or None if some are missing.

    It needs no engine, so try it first: rescoring a finished evaluation takes seconds.

    Args:
        tasks, tokenizer, model, predictions, overwrite, confidence, resamples, seed: as in `evaluate`.
        max_model_len: the engine's limit in tokens; predictions under another limit are not used.
        limit_is_known: whether the limit is configured; a guessed limit never causes an error.
        weight_format: how the engine would hold the weights (`Engine.weight_format`).

    Raises:
        ConfigError: as in `evaluate`.
        DataError: as in `evaluate`.
    """
    folder = Path(predictions)
    works = [TaskInProgress(task, task.metric()) for task in _named(tasks)]
    complete = True
    for work in works:
        settings = _settings(work.task, model, max_model_len)
        changed = changed_settings(folder, work.task.name, settings)
        if changed is not None:
            complete = False
            if not overwrite and (limit_is_known or changed != ["max_model_len"]):
                refuse_other_settings(folder, work.task.name, settings)
    if not complete:
        return None
    for work in works:
        work.file = PredictionFile(folder, work.task.name, _settings(work.task, model, max_model_len))
        work.resume()
        for position in work.unfinished():
            record = work.task.records[position]
            try:
                work.task.prompt(record, tokenizer, max_model_len)
            except PromptTooLong as error:
                work.skipped[record.id] = str(error)
            else:
                return None
    held = {"max_model_len": max_model_len, "weight_format": weight_format}
    return _result(works, model, held, confidence, resamples, seed)


def _settings(task: EvaluationTask, model: str, max_model_len: int) -> dict[str, Any]:
    """Return all settings that the predictions of a task depend on, beside its records."""
    return {"model": model, "max_model_len": max_model_len, **task.settings()}


def _result(
    works: Sequence[TaskInProgress], model: str, held: dict[str, Any], confidence: float, resamples: int, seed: int
) -> EvaluationResult:
    bootstrap: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    results = {}
    for work in works:
        items = [work.items[i] for i in sorted(work.items)]
        if not items:
            reason = next(iter(work.skipped.values()))
            raise DataError(f"evaluation task {work.task.name!r}: no record could be scored; the first: {reason}")
        results[work.task.name] = task_result(
            work.task.name, work.metric.names, items, work.skipped, work.task.buckets(), **bootstrap
        )
    macro, macro_intervals = macro_average(results, **bootstrap)
    return EvaluationResult(
        model=model,
        tasks=results,
        macro=macro,
        macro_intervals=macro_intervals,
        settings={work.task.name: held | work.task.settings() for work in works},
    )


def _named(tasks: EvaluationTask | Sequence[EvaluationTask]) -> list[EvaluationTask]:
    listed = list(tasks) if isinstance(tasks, Sequence) else [tasks]
    if not listed:
        raise ConfigError("no evaluation task was given; name at least one")
    names = [task.name for task in listed]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two evaluation tasks are called {name!r}; give each its own name")
    return listed
