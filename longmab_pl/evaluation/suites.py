"""Which tasks `longmab evaluate` asks: from names, data and protocol to tasks with their records."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.longbench.loading import BadRow, load_items, sample, tasks_there
from longmab_pl.evaluation.longbench.table import expand_tasks
from longmab_pl.evaluation.longbench.task import longbench_tasks
from longmab_pl.evaluation.qa import GREEDY, QATask
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.prompts.formats import DirectAnswer, ReasonThenAnswer

NEEDLE = "needle"
"""The name that stands for the needle probe among task names."""

PROMPT_FORMATS = {"reason_then_answer": ReasonThenAnswer, "direct": DirectAnswer}


@dataclass(frozen=True)
class Selection:
    """How tasks are chosen and asked; the fields are those options of `longmab evaluate`."""

    protocol: Literal["longbench", "qa"]
    official: str | None
    chat: Literal["by_task", "always", "never"]
    prompt_format: Literal["reason_then_answer", "direct"]
    limit: int | None
    seed: int
    max_prompt_tokens: int | None
    max_tokens: int | None
    presence_penalty: float | None

    def __post_init__(self) -> None:
        for option in ("limit", "max_tokens"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise ConfigError(f"--{option} is {value}; give a positive number, or leave it out")
        if self.protocol == "qa" and (self.official is not None or self.chat != "by_task"):
            raise ConfigError("--official and --chat belong to --protocol longbench; leave them out for qa")

    def tasks(self, data: str, names: list[str] | None) -> list[EvaluationTask]:
        """The tasks with their records; bad rows are reported on stderr.

        Args:
            data: a folder, zip, file or hub name.
            names: of tasks or groups; None: all that is there.

        Raises:
            ConfigError: an unknown task, or settings that cannot be used.
            DataError: no such data, or a task without a usable row.
        """
        tasks: Sequence[EvaluationTask]
        tasks, bad = self._qa(data, names) if self.protocol == "qa" else self._longbench(data, names)
        if bad:
            print(f"{len(bad)} bad rows skipped in {data}:", file=sys.stderr)
            for row in bad[:10]:
                print(f"  {row}", file=sys.stderr)
        return list(tasks)

    def _longbench(self, data: str, names: list[str] | None) -> tuple[Sequence[EvaluationTask], list[BadRow]]:
        found, bad = longbench_tasks(
            data,
            names,
            limit=self.limit,
            seed=self.seed,
            official=self.official,
            max_prompt_tokens=self.max_prompt_tokens,
            presence_penalty=self.presence_penalty or 0.0,
        )
        changes: dict[str, Any] = {} if self.chat == "by_task" else {"chat": self.chat == "always"}
        if self.max_tokens is not None:
            changes["max_new_tokens"] = self.max_tokens
        return [replace(task, spec=replace(task.spec, **changes)) for task in found], bad

    def _qa(self, data: str, names: list[str] | None) -> tuple[Sequence[EvaluationTask], list[BadRow]]:
        sampling = replace(
            GREEDY,
            max_tokens=self.max_tokens or GREEDY.max_tokens,
            presence_penalty=GREEDY.presence_penalty if self.presence_penalty is None else self.presence_penalty,
        )
        if names is None and not Path(data).exists():  # shipped or on a hub: one set of questions
            file = read_records(data, on_bad_record="skip")
            bad = [BadRow(b.file, b.line, b.field, b.message) for b in file.bad]
            found = [(re.split(r"[/:]", data)[-1], list(file.records))]
        else:
            found, bad = question_sets(data, expand_tasks(names) if names is not None else tasks_there(data))
        prompt_format = PROMPT_FORMATS[self.prompt_format]()
        return [
            QATask(name, sample(records, self.limit, self.seed), prompt_format, sampling, self.max_prompt_tokens)
            for name, records in found
        ], bad


def question_sets(data: str, names: Sequence[str]) -> tuple[list[tuple[str, list[QARecord]]], list[BadRow]]:
    """The records of tasks by name, for the QA protocol, and the rows that cannot be used.

    Raises:
        ConfigError: a record has no question; an unknown task.
        DataError: no such data, or a task without a usable row.
    """
    found: list[tuple[str, list[QARecord]]] = []
    bad: list[BadRow] = []
    for name in names:
        items, _, unusable = load_items(data, name)
        blank = sum(not item.question.strip() for item in items)
        if blank:
            raise ConfigError(
                f"task {name!r} has {blank} records without a question, so the qa protocol cannot ask it; "
                "use the longbench protocol, or name other tasks"
            )
        bad += unusable
        found.append((name, list(items)))
    return found, bad


def task_names(tasks: str | list[str] | None) -> list[str] | None:
    """One list of names from names with commas between them. Raises `ConfigError` if there is none."""
    if tasks is None:
        return None
    names = [name.strip() for entry in ([tasks] if isinstance(tasks, str) else tasks) for name in entry.split(",")]
    if not any(names):
        raise ConfigError("--tasks is empty; name at least one task, or leave it out for all that is there")
    return [name for name in names if name]
