"""The task table: LongBench v1 (21 tasks, arXiv 2308.14508) and InfiniteBench En.QA (arXiv 2402.13718), a row each."""

from __future__ import annotations

import difflib
import json
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.longbench.prompts import CUSTOM_QA, PROMPTS

Category = Literal["single-doc QA", "multi-doc QA", "summarization", "few-shot", "synthetic", "code"]


@dataclass(frozen=True)
class TaskSpec:
    """How a task is asked and scored.

    Args:
        name: the official name, also of its file.
        language: "en", "zh" or "code".
        category: LongBench's category.
        metric: a key of `scoring.SCORERS`.
        max_new_tokens: longest response in tokens.
        chat: whether the prompt goes through the chat template; the official program leaves it off for few-shot and
            code tasks, which continue a text.
        first_line: whether only the first line of a prediction is scored.
        in_e: whether LongBench-E has the task (`<name>_e`).
        prompt: template with `{context}` and, where the task has a question, `{input}`.
    """

    name: str
    language: Literal["en", "zh", "code"]
    category: Category
    metric: str
    max_new_tokens: int
    chat: bool
    first_line: bool
    in_e: bool
    prompt: str

    @property
    def asks_input(self) -> bool:
        """Whether records of this task must have a question."""
        return "{input}" in self.prompt


def _table() -> dict[str, TaskSpec]:
    single, multi, summary, shots, synthetic, code = (
        "single-doc QA",
        "multi-doc QA",
        "summarization",
        "few-shot",
        "synthetic",
        "code",
    )
    rows: list[tuple[Any, ...]] = [
        ("narrativeqa", "en", single, "f1", 128, True, False, False),
        ("qasper", "en", single, "f1", 128, True, False, True),
        ("multifieldqa_en", "en", single, "f1", 64, True, False, True),
        ("multifieldqa_zh", "zh", single, "f1_zh", 64, True, False, False),
        ("hotpotqa", "en", multi, "f1", 32, True, False, True),
        ("2wikimqa", "en", multi, "f1", 32, True, False, True),
        ("musique", "en", multi, "f1", 32, True, False, False),
        ("dureader", "zh", multi, "rouge_l_zh", 128, True, False, False),
        ("gov_report", "en", summary, "rouge_l", 512, True, False, True),
        ("qmsum", "en", summary, "rouge_l", 512, True, False, False),
        ("multi_news", "en", summary, "rouge_l", 512, True, False, True),
        ("vcsum", "zh", summary, "rouge_l_zh", 512, True, False, False),
        ("trec", "en", shots, "classification", 64, False, True, True),
        ("triviaqa", "en", shots, "f1", 32, False, True, True),
        # The official program also stops samsum at the first newline token and forces one token before it. Scoring
        # keeps the first non-empty line anyway, so here the response is only longer, not scored differently.
        ("samsum", "en", shots, "rouge_l", 128, False, True, True),
        ("lsht", "zh", shots, "classification", 64, False, True, False),
        ("passage_count", "en", synthetic, "count", 32, True, False, True),
        ("passage_retrieval_en", "en", synthetic, "retrieval", 32, True, False, True),
        ("passage_retrieval_zh", "zh", synthetic, "retrieval_zh", 32, True, False, False),
        ("lcc", "code", code, "edit_similarity", 64, False, False, True),
        ("repobench-p", "code", code, "edit_similarity", 64, False, False, True),
        ("longbook_qa_eng", "en", single, "f1", 40, True, False, False),
    ]
    columns = ("name", "language", "category", "metric", "max_new_tokens", "chat", "first_line", "in_e")
    return {row[0]: TaskSpec(**dict(zip(columns, row, strict=True)), prompt=PROMPTS[row[0]]) for row in rows}


TASKS: dict[str, TaskSpec] = _table()
LONGBENCH: tuple[str, ...] = tuple(name for name in TASKS if name != "longbook_qa_eng")
LONGBENCH_E: tuple[str, ...] = tuple(f"{name}_e" for name, spec in TASKS.items() if spec.in_e)
INFINITEBENCH: tuple[str, ...] = ("longbook_qa_eng",)
GROUPS: dict[str, tuple[str, ...]] = {
    "longbench": LONGBENCH,
    "longbench_e": LONGBENCH_E,
    "infinitebench": INFINITEBENCH,
}
"""Names of groups of tasks, with their tasks."""

BUCKETS: tuple[tuple[str, float], ...] = (("0-4k", 4000), ("4-8k", 8000), ("8k+", float("inf")))
"""LongBench-E length buckets: name and upper limit (words, or characters in Chinese), exclusive."""


def length_bucket(length: int) -> str:
    """Return the LongBench-E bucket of a record's `length` (words, or characters in Chinese)."""
    return next(name for name, below in BUCKETS if length < below)


def task_spec(name: str, known: Iterable[str] = ()) -> TaskSpec:
    """Return the row of a task; a LongBench-E name (`qasper_e`) gives the row of its task.

    Args:
        name: name as in the official file names.
        known: further names to suggest, for example those found in a data folder.

    Raises:
        ConfigError: there is no such task; the message suggests similar names.
    """
    if name in TASKS:
        return TASKS[name]
    if name in LONGBENCH_E:
        return TASKS[name.removesuffix("_e")]
    names = dict.fromkeys([*TASKS, *LONGBENCH_E, *GROUPS, *known])
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known tasks: {', '.join(names)}"
    raise ConfigError(f"unknown evaluation task {name!r}; {hint}")


def custom_spec(name: str, language: str = "en", max_new_tokens: int = 64) -> TaskSpec:
    """Return a custom QA task: prompted and scored like multifieldqa, by token F1, in English or Chinese."""
    chinese = language == "zh"
    return TaskSpec(
        name=name,
        language="zh" if chinese else "en",
        category="single-doc QA",
        metric="f1_zh" if chinese else "f1",
        max_new_tokens=max_new_tokens,
        chat=True,
        first_line=False,
        in_e=False,
        prompt=CUSTOM_QA["zh" if chinese else "en"],
    )


def expand_tasks(names: Sequence[str]) -> list[str]:
    """Return task names with groups ("longbench", "longbench_e", "infinitebench") expanded, each once, in order."""
    return list(dict.fromkeys(task for name in names for task in GROUPS.get(name, (name,))))


def groups_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the groups among task names, each with its tasks."""
    return {name: tuple(GROUPS[name]) for name in names if name in GROUPS}


def official_settings(folder: Path | str) -> tuple[dict[str, str], dict[str, int]]:
    """Read LongBench's own `dataset2prompt.json` and `dataset2maxlen.json` (either may be absent) from a folder.

    Returns:
        Prompt templates by task, and longest responses in tokens by task.

    Raises:
        ConfigError: neither file exists, or one has another content; the message names file and task.
    """
    folder = Path(folder)
    prompts = _json_object(folder / "dataset2prompt.json")
    lengths = _json_object(folder / "dataset2maxlen.json")
    if prompts is None and lengths is None:
        raise ConfigError(
            f"{folder}: holds neither dataset2prompt.json nor dataset2maxlen.json; "
            f"give the `config` folder of the LongBench repository"
        )
    for task, template in (prompts or {}).items():
        where = f"{folder / 'dataset2prompt.json'}: task {task!r}"
        if not isinstance(template, str):
            raise ConfigError(f"{where}: the prompt is {template!r}; it must be a string")
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        except ValueError as error:
            raise ConfigError(f"{where}: not a template ({error}); write {{{{ and }}}} for literal braces") from error
        if "context" not in fields or fields - {"context", "input"}:
            raise ConfigError(
                f"{where}: the prompt's fields are {sorted(fields)}; it must have {{context}}, may have {{input}}, "
                f"and no other"
            )
    for task, length in (lengths or {}).items():
        if not isinstance(length, int) or length < 1:
            raise ConfigError(
                f"{folder / 'dataset2maxlen.json'}: task {task!r}: {length!r} is not a positive number of tokens"
            )
    return prompts or {}, lengths or {}


def _json_object(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold one JSON object, task name to value")
    return content
