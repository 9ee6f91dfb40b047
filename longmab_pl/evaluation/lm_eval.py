"""Results in the layout of lm-evaluation-harness's result files, for programs that read those."""

from __future__ import annotations

import datetime
import json
import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longmab_pl import __version__
from longmab_pl.evaluation.results import EvaluationResult, TaskResult
from longmab_pl.storage.files import atomic_write


def lm_eval_results(results: Mapping[str, EvaluationResult]) -> dict[str, Any]:
    """Return a model's results as lm-evaluation-harness lays them out.

    Scores are in 0..1 under `<metric>,none`, their standard errors under `<metric>_stderr,none` ("N/A" for one record).
    A suite of several tasks is a group, whose score is the mean of its tasks' main metrics.

    Args:
        results: result by suite name, all of one model.

    Source: lm-evaluation-harness, `loggers/evaluation_tracker.py` and `evaluator.py` (version 0.4).
    """
    tasks = {task_name(suite, task): found for suite, result in results.items() for task, found in result.tasks.items()}
    settings = {
        task_name(suite, task): result.settings.get(task, {})
        for suite, result in results.items()
        for task in result.tasks
    }
    groups = {suite: result for suite, result in results.items() if list(result.tasks) != [suite]}
    model = next(iter(results.values())).model
    return {
        "results": {name: _scores(name, found) for name, found in tasks.items()},
        "groups": {
            suite: {"alias": suite, "score,none": result.score / 100, "score_stderr,none": "N/A"}
            for suite, result in groups.items()
        },
        "group_subtasks": {
            suite: [task_name(suite, task) for task in result.tasks] for suite, result in groups.items()
        },
        "configs": {name: {"task": name, "num_fewshot": 0, "metadata": found} for name, found in settings.items()},
        "versions": dict.fromkeys(tasks, __version__),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {name: dict.fromkeys(found.scores, True) for name, found in tasks.items()},
        "n-samples": {
            name: {"original": found.n + len(found.skipped), "effective": found.n} for name, found in tasks.items()
        },
        "config": {"model": "longmab_pl", "model_args": f"pretrained={model}", "batch_size": None, "limit": None},
        "date": datetime.datetime.now(datetime.UTC).timestamp(),
        "model_source": "longmab_pl",
        "model_name": model,
        "model_name_sanitized": _sanitized(model),
        "total_evaluation_time_seconds": str(sum(result.seconds for result in results.values())),
    }


def write_lm_eval(folder: Path, results: Mapping[str, EvaluationResult]) -> Path:
    """Write `<folder>/<model>/results_<date>.json` and return its path.

    Args:
        folder: made if missing.
        results: result by suite name, all of one model.
    """
    layout = lm_eval_results(results)
    date = datetime.datetime.fromtimestamp(layout["date"], datetime.UTC).isoformat().replace(":", "-")
    path = folder / layout["model_name_sanitized"] / f"results_{date.removesuffix('+00-00')}.json"
    with atomic_write(path) as file:
        file.write(json.dumps(layout, indent=2, ensure_ascii=False) + "\n")
    return path


def task_name(suite: str, task: str) -> str:
    """Return a task's name among those of all suites: `ruler_vt`; a task that is named after its suite keeps its name.

    Example:
        >>> task_name("ruler", "vt"), task_name("needle", "needle"), task_name("agentic", "agentic-plain")
        ('ruler_vt', 'needle', 'agentic-plain')
    """
    return task if re.match(rf"{re.escape(suite)}(?![A-Za-z0-9])", task) else f"{suite}_{task}"


def _scores(name: str, found: TaskResult) -> dict[str, Any]:
    scores: dict[str, Any] = {"alias": name}
    for metric in found.scores:
        values = [item.scores[metric] for item in found.items]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else "N/A"
        scores |= {f"{metric},none": statistics.fmean(values), f"{metric}_stderr,none": error}
    return scores


def _sanitized(model: str) -> str:
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", model)
