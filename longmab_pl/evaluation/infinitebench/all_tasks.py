"""InfiniteBench as a suite: all twelve tasks with the program's own scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from longmab_pl.checks import at_least
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.asking import THINKING_TOKENS, Asking
from longmab_pl.evaluation.benchmark_files import Row, check_ids, json_rows, sample
from longmab_pl.evaluation.infinitebench.prompts import CHOICES, fields, filled, labels
from longmab_pl.evaluation.infinitebench.tasks import TASKS
from longmab_pl.evaluation.infinitebench.templates import TEMPLATES
from longmab_pl.evaluation.metric import ItemScores
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.shown import quoted

SOURCE = "of the Hub data set xinrongzhang2022/InfiniteBench, as it is (raw JSONL, not through `datasets`)"
_NUMBERS = ("code_run", "math_find", "math_calc")


class InfiniteBenchTasksSuite(Suite):
    """InfiniteBench (arXiv 2402.13718): retrieval, novels, dialogues, code and arithmetic over 100,000 tokens and more.

    The program has no mean over tasks; `score` is ours. `InfiniteBenchSuite` asks En.QA as the LongMab-PO paper does.

    Args:
        data: folder with `<task>.jsonl`.
        tasks: names of tasks; None: all that the folder has.
        version: `published` scores as the program behind the published tables (June 2024), `corrected` as its later
            state (September 2024); they differ in key-value retrieval, dialogues, choices and code debugging.
        limit: at most this many items for each task, the same random sample every time.
        seed: random seed of the sample.
        templates: JSON file with an object of task to template, to ask in the official words; None: our own.
        prompt_tokens: longer prompts lose their middle (official: 131,072 or 200,000; no room is kept for the answer).
        new_tokens: longest answer; None: the official limits, 3 to 6 tokens for some tasks, too short for chat models;
            4,096 for a model that is to think.
        asking: chat template and thinking mode; officially open models are prompted without a template.
        name: name in metrics and in the folder of the predictions.

    Raises:
        ConfigError: a setting is out of range, or templates that cannot be used.

    Example:
        >>> evaluation = Evaluation(InfiniteBenchTasksSuite("InfiniteBench", tasks=["passkey", "longbook_choice_eng"]))
    """

    def __init__(
        self,
        data: str,
        tasks: Sequence[str] | None = None,
        version: Literal["published", "corrected"] = "published",
        limit: int | None = None,
        seed: int = 0,
        templates: str | None = None,
        prompt_tokens: int | None = None,
        new_tokens: int | None = None,
        asking: Asking | None = None,
        name: str = "infinitebench_tasks",
    ) -> None:
        at_least("InfiniteBenchTasksSuite.limit", limit, 1, or_null=True)
        at_least("InfiniteBenchTasksSuite.prompt_tokens", prompt_tokens, 2, or_null=True)
        at_least("InfiniteBenchTasksSuite.new_tokens", new_tokens, 1, or_null=True)
        unknown = sorted(set(tasks or ()) - set(TASKS))
        if unknown:
            raise ConfigError(f"InfiniteBenchTasksSuite.tasks has {unknown}; tasks are {', '.join(TASKS)}")
        self.data = data
        self.task_names = tasks
        self.version: Literal["published", "corrected"] = version
        self.limit = limit
        self.seed = seed
        self.templates = TEMPLATES if templates is None else TEMPLATES | _templates(templates)
        self.prompt_tokens = prompt_tokens
        self.asking = asking or Asking()
        self.new_tokens = new_tokens or (THINKING_TOKENS if self.asking.enable_thinking else None)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        folder = Path(self.data)
        names = self.task_names or [name for name in TASKS if (folder / f"{name}.jsonl").is_file()]
        if not names:
            raise ConfigError(f"{folder} holds no task of InfiniteBench; give the folder with <task>.jsonl {SOURCE}")
        return [self._task(name, folder / f"{name}.jsonl") for name in names]

    def _task(self, name: str, path: Path) -> PromptedTask:
        rows = json_rows(path, f"{name}.jsonl {SOURCE}")
        items = [item_of(name, row) for row in rows]
        check_ids(items, rows)
        spec, template = TASKS[name], self.templates[name]
        return PromptedTask(
            name=name,
            records=sample(items, self.limit, self.seed),
            fill=partial(_fill, name, template),
            scorer=partial(self._score, name),
            asking=self.asking,
            sampling=Sampling(
                temperature=0.0, top_p=1.0, presence_penalty=0.0, max_tokens=self.new_tokens or spec.new_tokens
            ),
            prompt_tokens=self.prompt_tokens,
            template=template,
        )

    def _score(self, name: str, answer: str, golds: Sequence[str]) -> ItemScores:
        found = [_number(gold) for gold in golds] if name in _NUMBERS else list(golds)
        try:
            return ItemScores({"score": TASKS[name].score(answer, found, self.version)}, bool(answer.strip()))
        except ValueError:  # math_find: a decimal number for an integer label, on which the program stops
            return ItemScores({"score": 0.0}, False)


def item_of(task: str, row: Row) -> BenchmarkItem:
    """Return the item of a row; the scorer reads the answers of tasks about numbers as numbers.

    Raises:
        DataError: a field is missing or cannot be used.
    """
    listed_options = row.values.get("options") or []
    if not isinstance(listed_options, list):
        raise DataError(f"{row.where}: field 'options' is {quoted(str(listed_options))}; it must be a list")
    options = tuple(map(str, listed_options))
    if task in CHOICES and len(options) != 4:
        raise DataError(f"{row.where}: field 'options' has {len(options)} options; items of {task} have four")
    answer, question = row.present("answer"), row.text("input")
    try:
        found = labels(task, answer, options)
        fields(task, "", question, options)  # a question that a template cannot take is named here
    except DataError as error:
        raise DataError(f"{row.where}: {error}") from error
    listed = found if isinstance(found, list) else [found]
    if len(listed) == 1 and isinstance(listed[0], list):  # math_calc has a list in a list
        listed = listed[0]
    if not listed or not all(isinstance(part, str | int | float) for part in listed):
        raise DataError(f"{row.where}: field 'answer' is {quoted(str(found))}; it must be a list of texts or numbers")
    return BenchmarkItem(
        id=str(row.present("id")),
        question=question,
        answers=tuple(map(str, listed)),
        context=row.text("context"),
        options=options,
    )


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _fill(task: str, template: str, item: BenchmarkItem) -> str:
    return filled(template, fields(task, item.context, item.question, item.options))


def _templates(path: str) -> dict[str, str]:
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the templates {path} cannot be read ({error}); give a JSON object of task to text"
        ) from error
    if (
        not isinstance(given, dict)
        or not all(isinstance(text, str) for text in given.values())
        or set(given) - set(TASKS)
    ):
        raise ConfigError(f"{path} is no object of task to template; tasks are {', '.join(TASKS)}")
    return given
