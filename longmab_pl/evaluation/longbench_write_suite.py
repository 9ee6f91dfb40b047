"""LongBench-Write as a suite: length score, judged quality and repetition of long answers, over any such file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.data.qa_fields import FieldError
from longmab_pl.data.sources import open_source
from longmab_pl.data.writing_fields import instruction, is_instruction, required_length
from longmab_pl.engines.addressee import Addressee
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import DataError
from longmab_pl.evaluation.after_reasoning import AfterReasoning
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.benchmark_files import sample
from longmab_pl.evaluation.degeneration import NAMES, degeneration
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.group_scores import group_scores
from longmab_pl.evaluation.judge import Judge, JudgeSession
from longmab_pl.evaluation.longbench_write import BUCKETS, DIMENSIONS, parse_quality
from longmab_pl.evaluation.metric import ItemScores
from longmab_pl.evaluation.predictions import predicted_texts
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.results import EvaluationResult, task_result
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.prompts.dollar_names import fill
from longmab_pl.prompts.quoting import Fence
from longmab_pl.rewards.length import count_words, length_score
from longmab_pl.rewards.llm_judge.asking import Question
from longmab_pl.rewards.llm_judge.json_replies import object_schema
from longmab_pl.rewards.llm_judge.replies import ReplyForm
from longmab_pl.shown import shown

_QUALITY = """You rate long texts that were written to an instruction. Be strict: reserve 5 for what could not be \
better. Rate six dimensions from 1 to 5:
Relevance: it does what the instruction asks. Accuracy: what it says is right. Coherence: its parts fit together. \
Clarity: it is easy to understand. Breadth and Depth: it covers its subject widely and in detail. Reading Experience: \
it is good to read.
Length is not rated.

$rule

Instruction:
$instruction

Text:
$text

$reply"""

_REPLY_TOKENS = 1024
_ANALYSIS_CHARACTERS = 1200


class WritingMetric(AfterReasoning):
    """Length score and repetition of long answers."""

    names = ("length", *NAMES)


class LongBenchWriteSuite(Suite):
    """LongBench-Write: how well long answers keep their required length (S_l), and how good they are (S_q).

    `score` is S_l, or with a judge the mean of S_l and S_q. `s_l`, `s_q` and its six dimensions are in 0..100; S_l is
    also given for each range of required lengths. An answer without a verdict is reported and leaves S_q, not S_l.
    `repetition` is the share of 4-grams of words that occurred before, `truncated` that of answers cut at the limit.

    Args:
        data: LongBench-Write's `longbench_write.jsonl`, or any file of objects with `prompt` and `length` (words).
        judge: rates quality; None: no S_q.
        name: name in metrics and in the folder of the predictions.
        limit: at most this many instructions, the same random sample every time.
        seed: random seed of the sample.
        temperature: of the answers; 0.5 is LongWriter's.
        max_new_tokens: longest answer; 32,768 is LongWriter's.
        quality_prompt: prompt of the judge with `$rule`, `$instruction`, `$text` and `$reply`.
        asking: chat template and thinking mode.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> suite = LongBenchWriteSuite("longbench_write.jsonl", Judge("Qwen/Qwen2.5-72B-Instruct"))

    Source: LongWriter (arXiv:2408.07055), section 4.1.
    """

    def __init__(
        self,
        data: str,
        judge: Judge | None = None,
        name: str = "longbench_write",
        limit: int | None = None,
        seed: int = 0,
        temperature: float = 0.5,
        max_new_tokens: int = 32_768,
        quality_prompt: str = _QUALITY,
        asking: Asking | None = None,
    ) -> None:
        at_least("LongBenchWriteSuite.limit", limit, 1, or_null=True)
        self.data = data
        self.judge = judge
        self._name = name
        self.limit = limit
        self.seed = seed
        self.sampling = Sampling(temperature, 1.0, 0.0, max_new_tokens)
        self.quality_prompt = quality_prompt
        self.asking = asking or Asking()

    @property
    def name(self) -> str:
        return self._name

    @property
    def quality(self) -> str:
        """Name of the task of the judge's scores."""
        return f"{self.name}_quality"

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        items, bad = load_instructions(self.data)
        if bad:
            context.note(f"{self.data}: {len(bad)} rows left out; the first: {bad[0]}")
        return [
            PromptedTask(
                name=self.name,
                records=sample(items, self.limit, self.seed),
                fill=lambda item: item.question,
                scorer=_scored,
                asking=self.asking,
                sampling=self.sampling,
                prompt_tokens=None,
                template="the instruction",
                means=WritingMetric,
            )
        ]

    def rated(self, result: EvaluationResult, tasks: Sequence[EvaluationTask], folder: Path) -> EvaluationResult:
        if self.judge is None:
            return result
        (task,) = tasks
        texts = predicted_texts(folder, task)
        records = {record.id: record for record in task.records}
        with JudgeSession(self.judge, folder, f"{self.name} judge") as session:
            judge = session.addressee()
            written = {item.id: self.asking.scored(texts[item.id]) for item in result.tasks[self.name].items}
            # An empty text is nothing to rate; its length score is 0.
            questions = [
                self._question(id, records[id].question, text, judge) for id, text in written.items() if text.strip()
            ]
            outcomes = session.outcomes(questions)
        items, missing = [], {}
        for item in result.tasks[self.name].items:
            outcome = outcomes.get(item.id)
            if outcome is None or outcome.value is None:
                reason = "empty answer" if outcome is None else f"{outcome.missing}; it said {shown(outcome.reply)!r}"
                missing[item.id] = f"record {shown(item.id)}: the judge gave no ratings ({reason})"
                continue
            rated = {name: (outcome.value[name] - 1) / 4 for name in DIMENSIONS}
            items.append(replace(item, scores={"quality": sum(rated.values()) / len(rated), **rated}))
        if not items:
            raise DataError(
                f"{self.name}: the judge {self.judge.model} rated none of {len(written)} answers; the first: "
                f"{next(iter(missing.values()))}. Use another judge, or an engine with structured output"
            )
        quality = task_result(self.quality, ["quality", *DIMENSIONS], items, missing, task.buckets())
        settings = {**result.settings, self.quality: {"judge": session.name}}
        return replace(result, settings=settings).with_tasks({**result.tasks, self.quality: quality})

    def _question(self, name: str, wanted: str, text: str, judge: Addressee) -> Question:
        fence = Fence.around(0, [wanted, text])
        form = quality_form(judge.structured_output)
        prompt = fill(
            self.quality_prompt,
            rule=fence.rule(),
            instruction=fence.quote(wanted, "instruction"),
            text=fence.quote(text, "text"),
            reply=form.told,
        )
        return Question(name, prompt, form, judge)

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        task = result.tasks[self.name]
        length = Score(task.scores["length"], *task.intervals["length"])
        found = {"score": length, "s_l": length}
        if self.quality in result.tasks:
            judged = result.tasks[self.quality]
            quality = Score(judged.scores["quality"], *judged.intervals["quality"])
            found = {"score": Score((length.value + quality.value) / 2), "s_l": length, "s_q": quality}
            found |= {f"s_q-{name.replace(' ', '-')}": Score(judged.scores[name]) for name in DIMENSIONS}
            found["unrated"] = Score(float(len(judged.skipped)))
        only_length = replace(result, tasks={self.name: task})
        found |= {f"s_l-{name}": score for name, score in group_scores(only_length).items()}
        found |= {name: Score(task.scores[name]) for name in NAMES}
        found["truncated"] = Score(100 * task.truncated_responses / task.n)
        return found


def quality_form(structured: bool) -> ReplyForm[dict[str, float]]:
    """Return the form of the six ratings.

    Args:
        structured: whether the engine keeps replies to a schema.
    """

    def parse(reply: str) -> dict[str, float] | None:
        ratings = parse_quality(reply)
        return None if ratings is None else ratings.scores

    example = ", ".join(f'"{name}": n' for name in DIMENSIONS)
    told = f'Reply with a short analysis, then one JSON object in the form: {{"analysis": "...", {example}}}'
    if not structured:
        return ReplyForm(told, parse, _REPLY_TOKENS)
    rating = {"type": "integer", "minimum": 1, "maximum": 5}
    properties = {"analysis": {"type": "string", "maxLength": _ANALYSIS_CHARACTERS}} | dict.fromkeys(DIMENSIONS, rating)
    schema = object_schema(properties)
    return ReplyForm(f"Reply with one JSON object in the form: {{{example}}}", parse, _REPLY_TOKENS, json.dumps(schema))


def load_instructions(source: str) -> tuple[list[BenchmarkItem], list[str]]:
    """Return writing instructions with required lengths, and a line on each row that is none.

    Args:
        source: a file, a folder, `shipped:writing_eval` or a hub data set of objects with `prompt` and `length`.

    Raises:
        DataError: there is no such source, or no usable row in it.
    """
    items: list[BenchmarkItem] = []
    bad: list[str] = []
    for number, row in enumerate(open_source(source, "train"), 1):
        where = f"{row.file}:{row.line}"
        try:
            if row.problem or not isinstance(row.value, dict) or not is_instruction(row.value):
                raise FieldError("prompt", row.problem or "is missing; give an object with prompt and length")
            length = required_length(row.value)
            if length is None:
                raise FieldError("length", "is missing; give the required number of words")
            text = instruction(row.value)
        except FieldError as error:
            bad.append(f"{where}: {error.field} {error}")
            continue
        kind = row.value.get("type")
        groups = {"words": _bucket(length)} | ({"type": shown(kind)} if isinstance(kind, str) and kind else {})
        items.append(BenchmarkItem(str(number), text, (str(length),), "", groups=groups, length=length))
    if not items:
        raise DataError(f"{source}: no instruction with a required length; the first row: {bad[0] if bad else 'none'}")
    return items, bad


def _bucket(length: int) -> str:
    for low, high in BUCKETS:
        if low <= length < high:
            return f"{low}-{high}"
    return f"{BUCKETS[-1][1]}+"


def _scored(answer: str, golds: Sequence[str]) -> ItemScores:
    length = length_score(int(golds[0]), count_words(answer)) / 100
    return ItemScores({"length": length, **degeneration(answer)}, bool(answer.strip()))
