"""LongGenBench as a suite over the user's copy of its file: completion rate and tasks fulfilled in long answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import DataError
from longmab_pl.evaluation.after_reasoning import AfterReasoning
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.benchmark_files import Row, json_rows, sample
from longmab_pl.evaluation.degeneration import NAMES, degeneration
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.judge import Judge, JudgeSession
from longmab_pl.evaluation.longgenbench import KINDS, Checks, Completion, completion_of, sections_of
from longmab_pl.evaluation.metric import ItemScores
from longmab_pl.evaluation.predictions import predicted_texts
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.results import EvaluationResult, task_result
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.prompts.dollar_names import fill
from longmab_pl.prompts.quoting import Fence
from longmab_pl.rewards.llm_judge.asking import Question
from longmab_pl.rewards.llm_judge.json_replies import object_schema
from longmab_pl.rewards.llm_judge.ratings import parse_labels
from longmab_pl.rewards.llm_judge.replies import ReplyForm

WANTED = (
    "LongGenBench's Dataset_short.json or Dataset_long.json: a list of objects with prompt, prefix, type, number, "
    "checks_once, checks_range and checks_periodic"
)

SCORES = ("completion", "stc1", "stc2", *KINDS)

_PROMPT = """Does a section of a long text contain something? Answer yes only if it is clearly there.

$rule

Section:
$section

What it should contain:
$task

$reply"""

_TOLD = 'Reply with one JSON object: {"answer": "yes"} or {"answer": "no"}'
_SCHEMA = json.dumps(object_schema({"answer": {"enum": ["yes", "no"]}}))


@dataclass(frozen=True)
class LongGenItem(BenchmarkItem):
    """An item of LongGenBench.

    Args:
        prefix: beginning of the answer, which the prompt ends with.
        checks: what the answer must have.
    """

    prefix: str = ""
    checks: Checks = field(default_factory=lambda: Checks("Week", 1, {kind: {} for kind in KINDS}))


class GenerationMetric(AfterReasoning):
    """Completion rate, fulfilled tasks and repetition of long answers."""

    names = (*SCORES, *NAMES)


class LongGenBenchSuite(Suite):
    """LongGenBench: answers of many numbered sections, each with its own tasks.

    `completion` is the share of sections that are there (CR), `stc1` the share of fulfilled tasks in them, `stc2` the
    share of all tasks; `once`, `range` and `periodic` are STC-2 by the kind of task. `score` is the mean of CR and
    STC-2. Without a judge a task counts as fulfilled if the section has its words (`longgenbench.mentions`).

    Args:
        data: the user's copy of the file.
        judge: answers whether a section fulfills its task, one question each; None: by words.
        name: name in metrics and in the folder of the predictions.
        limit: at most this many items, the same random sample every time.
        seed: random seed of the sample.
        temperature: of the answers.
        max_new_tokens: longest answer (16,000 for the short file, 32,000 for the long one).
        asking: chat template and thinking mode.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> suite = LongGenBenchSuite("Dataset_short.json", limit=40)

    Source: LongGenBench (arXiv:2409.02076), section 3.
    """

    def __init__(
        self,
        data: str,
        judge: Judge | None = None,
        name: str = "longgenbench",
        limit: int | None = None,
        seed: int = 0,
        temperature: float = 0.95,
        max_new_tokens: int = 16_000,
        asking: Asking | None = None,
    ) -> None:
        at_least("LongGenBenchSuite.limit", limit, 1, or_null=True)
        self.data = data
        self.judge = judge
        self._name = name
        self.limit = limit
        self.seed = seed
        self.sampling = Sampling(temperature, 0.95, 0.0, max_new_tokens)
        self.asking = asking or Asking()

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        items = {item.id: item for item in map(item_of, json_rows(self.data, WANTED))}

        def score(answer: str, golds: Sequence[str]) -> ItemScores:
            item = items[golds[0]]
            return _scores(completion_of(item.prefix + answer, item.checks), answer)

        return [
            PromptedTask(
                name=self.name,
                records=sample(list(items.values()), self.limit, self.seed),
                fill=lambda item: item.question,
                scorer=score,
                asking=self.asking,
                sampling=self.sampling,
                prompt_tokens=None,
                template="the prompt",
                means=GenerationMetric,
            )
        ]

    def rated(self, result: EvaluationResult, tasks: Sequence[EvaluationTask], folder: Path) -> EvaluationResult:
        if self.judge is None:
            return result
        (task,) = tasks
        old = result.tasks[self.name]
        texts = predicted_texts(folder, task)
        records = {record.id: record for record in task.records if isinstance(record, LongGenItem)}
        answers = {item.id: records[item.id].prefix + self.asking.scored(texts[item.id]) for item in old.items}
        with JudgeSession(self.judge, folder, f"{self.name} judge") as session:
            questions = [
                question for id, text in answers.items() for question in self._questions(records[id], text, session)
            ]
            outcomes = session.outcomes(questions)
        verdicts: dict[str, dict[tuple[str, int], bool]] = {}
        for name, outcome in outcomes.items():
            id, kind, number = name.rsplit("/", 2)
            if outcome.value is not None:
                verdicts.setdefault(id, {})[kind, int(number)] = outcome.value
        items = []
        for item in old.items:
            text = answers[item.id]
            found = completion_of(text, records[item.id].checks, verdicts.get(item.id, {}))
            items.append(replace(item, scores=dict(_scores(found, text).scores)))
        judged = task_result(self.name, [*SCORES, *NAMES], items, dict(old.skipped), task.buckets())
        settings = {self.name: {**result.settings[self.name], "judge": session.name}}
        return replace(result, settings=settings).with_tasks({self.name: judged})

    def _questions(self, item: LongGenItem, answer: str, session: JudgeSession) -> list[Question]:
        judge = session.addressee()
        form = ReplyForm(_TOLD, _yes, 64, _SCHEMA if judge.structured_output else None)
        sections = sections_of(answer, item.checks.unit)
        questions = []
        for kind in KINDS:
            for number, task in item.checks.tasks[kind].items():
                if number not in sections:
                    continue
                fence = Fence.around(0, [sections[number], task])
                prompt = fill(
                    _PROMPT,
                    rule=fence.rule(),
                    section=fence.quote(sections[number], "section"),
                    task=fence.quote(task, "task"),
                    reply=form.told,
                )
                questions.append(Question(f"{item.id}/{kind}/{number}", prompt, form, judge))
        return questions

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        task = result.tasks[self.name]
        found = {name: Score(task.scores[name], *task.intervals[name]) for name in (*SCORES, *NAMES)}
        found["truncated"] = Score(100 * task.truncated_responses / task.n)
        return {"score": Score((found["completion"].value + found["stc2"].value) / 2), **found}


def item_of(row: Row) -> LongGenItem:
    """Return the item of a row. Raises `DataError` if a field is missing or has another form."""
    unit = row.text("type")
    number = row.values.get("number")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise DataError(f"{row.where}: field 'number' must be the number of sections, at least 1")
    tasks = {kind: _tasks(row, f"checks_{kind}") for kind in KINDS}
    name = row.where.rpartition("row ")[2]
    return LongGenItem(
        id=name,
        question=row.text("prompt"),
        answers=(name,),
        context="",
        groups={"type": unit},
        prefix=row.text("prefix"),
        checks=Checks(unit, number, tasks),
    )


def _tasks(row: Row, field: str) -> Mapping[int, str]:
    value = row.values.get(field)
    if not isinstance(value, dict) or not all(
        key.isascii() and key.isdigit() and len(key) < 7 and isinstance(task, str) for key, task in value.items()
    ):
        raise DataError(f"{row.where}: field {field!r} must be an object from section numbers to texts")
    return {int(key): task for key, task in value.items()}


def _scores(found: Completion, answer: str) -> ItemScores:
    scores = {
        "completion": found.completion,
        # An answer without any section of a task has fulfilled none.
        "stc1": found.accuracy() or 0.0,
        "stc2": found.accuracy(of_all=True) or 0.0,
        **{kind: found.accuracy(kind, of_all=True) or 0.0 for kind in KINDS},
    }
    return ItemScores({**scores, **degeneration(answer)}, found.completion > 0)


def _yes(reply: str) -> bool | None:
    found = parse_labels(reply, ["answer"], {"yes": 1.0, "no": 0.0})
    return None if found is None else found["answer"] == 1.0
