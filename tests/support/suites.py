"""Running a suite on a reader that is told the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.suite import Suite, SuiteContext


def asked(
    suite: Suite, tokenizer: Any, scripted_engine: Any, reader: Callable[[QARecord], str], **engine: Any
) -> tuple[EvaluationResult, dict[str, str]]:
    """Return the result of a suite and its prompts by task and record id.

    Args:
        suite: what to ask.
        tokenizer: of `evaluation_fixtures`.
        scripted_engine: of `evaluation_fixtures`.
        reader: a record to the answer.
        engine: settings of the engine.
    """
    tasks = suite.tasks(tokenizer, SuiteContext())
    limit = engine.get("max_model_len", 100_000)
    prompts, answers = {}, {}
    for task in tasks:
        for record in task.records:
            prompt = tokenizer.decode(task.prompt(record, tokenizer, limit).ids)
            prompts[f"{task.name}/{record.id}"] = prompt
            answers[prompt] = reader(record)
    scripted = scripted_engine(answers.__getitem__, **{"max_model_len": limit} | engine)
    return evaluate(tasks, scripted, tokenizer, progress=False), prompts
