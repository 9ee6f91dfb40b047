"""LongBench-Chat as a suite: the user's own copy of its two files, and a judge with three rated examples per case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import DataError
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.benchmark_files import json_file, json_rows, sample
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.judge import Judge, RatingQuestion
from longmab_pl.evaluation.judged_results import METRIC, judged_result
from longmab_pl.evaluation.longbench_chat import chat_total
from longmab_pl.evaluation.metric import ItemScores
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask

HIGHEST = 10
"""Last point of the scale."""

_CASES = "LongBench-Chat's test_cases.json: a list of objects with idx, query, answer and prompt"
_EXAMPLES = "LongBench-Chat's few_shots.json: for each case a list of objects with answer and score"


@dataclass(frozen=True)
class ChatCase(BenchmarkItem):
    """A case of LongBench-Chat; its `context` is the whole prompt, document and question.

    Args:
        examples: other answers to it with their ratings.
    """

    examples: tuple[tuple[str, int], ...] = ()


class LongBenchChatSuite(Suite):
    """LongBench-Chat: fifty open questions about long documents, each answer rated from 1 to 10 by a judge.

    `score` is the mean rating in 0..100; `total` is the published one, a fifth of the sum. A case without a readable
    rating is reported; it counts as the mean of the others in `total`.

    Args:
        cases: `test_cases.json`.
        examples: `few_shots.json`; row `idx` (from 1) holds a case's rated answers.
        judge: the judge; temperature 0 is official.
        name: name in metrics and in the folder of the predictions.
        limit: at most this many cases, the same random sample every time.
        seed: random seed of the sample.
        temperature: of the answers; 1.0 is official, 0 (greedy) can be repeated.
        max_prompt_tokens: longer prompts lose their middle (official: 64,000).
        max_new_tokens: longest answer.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> suite = LongBenchChatSuite("test_cases.json", "few_shots.json", Judge("Qwen/Qwen2.5-72B-Instruct"))

    Source: LongReward (arXiv:2410.21252), `evaluation/LongBench_Chat`; LongAlign (arXiv:2401.18058), section 3.3.
    """

    def __init__(
        self,
        cases: str,
        examples: str,
        judge: Judge,
        name: str = "longbench_chat",
        limit: int | None = None,
        seed: int = 0,
        temperature: float = 0.0,
        max_prompt_tokens: int | None = 64_000,
        max_new_tokens: int = 1024,
    ) -> None:
        at_least("LongBenchChatSuite.limit", limit, 1, or_null=True)
        self.cases = cases
        self.examples = examples
        self.judge = judge
        self._name = name
        self.limit = limit
        self.seed = seed
        self.sampling = Sampling(temperature, 1.0, 0.0, max_new_tokens)
        self.max_prompt_tokens = max_prompt_tokens

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_judged(self) -> bool:
        return True

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        cases = sample(load_cases(self.cases, self.examples), self.limit, self.seed)
        return [
            PromptedTask(
                name=self.name,
                records=cases,
                fill=lambda case: case.context,
                scorer=_not_scored,
                asking=Asking(),
                sampling=self.sampling,
                prompt_tokens=self.max_prompt_tokens,
                template="prompt of the case",
            )
        ]

    def rated(self, result: EvaluationResult, tasks: Sequence[EvaluationTask], folder: Path) -> EvaluationResult:
        return judged_result(result, tasks, self.judge, folder, self._questions, _score, Asking(), f"{self.name} judge")

    def _questions(self, task: EvaluationTask, record: QARecord, answer: str) -> Sequence[RatingQuestion]:
        assert isinstance(record, ChatCase)
        texts = {"question": record.question, "reference": record.answer, "answer": answer}
        return [RatingQuestion("rating", self.judge.prompts.chat, texts, HIGHEST, record.examples)]

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        task = result.tasks[self.name]
        ratings = [HIGHEST * item.scores[METRIC] for item in task.items] + [None] * len(task.skipped)
        total = chat_total(ratings)
        assert total.total is not None  # `judged_result` refuses a task without any rating
        return {
            "score": Score(task.score, *task.intervals[METRIC]),
            "total": Score(total.total),
            "unrated": Score(float(total.unjudged)),
        }


def load_cases(cases: str, examples: str) -> list[ChatCase]:
    """Return the cases of LongBench-Chat with their rated examples.

    Raises:
        DataError: a file cannot be read, or a field is missing.
    """
    rated = json_file(examples, _EXAMPLES)
    if not isinstance(rated, list):
        raise DataError(f"{examples} is not a list; it must be {_EXAMPLES}")
    found = []
    for row in json_rows(cases, _CASES):
        number = row.values.get("idx")
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(rated):
            raise DataError(f"{row.where}: field 'idx' must be a number from 1 to {len(rated)}, the rows of {examples}")
        found.append(
            ChatCase(
                id=str(number),
                question=row.text("query"),
                answers=(row.text("answer"),),
                context=row.text("prompt"),
                examples=_rated(rated[number - 1], f"{examples}, row {number}"),
            )
        )
    return found


def _rated(value: Any, where: str) -> tuple[tuple[str, int], ...]:
    rows = value if isinstance(value, list) else [None]
    pairs = []
    for row in rows:
        answer, rating = (row.get("answer"), row.get("score")) if isinstance(row, dict) else (None, None)
        if not isinstance(answer, str) or isinstance(rating, bool) or not isinstance(rating, int):
            raise DataError(f"{where}: must be a list of objects with answer (a text) and score (a whole number)")
        pairs.append((answer, rating))
    return tuple(pairs)


def _not_scored(prediction: str, answers: Sequence[str]) -> ItemScores:
    return ItemScores({"score": 0.0}, bool(prediction.strip()))


def _score(task: EvaluationTask, ratings: Sequence[float | None]) -> float | None:
    (rating,) = ratings
    return None if rating is None else rating / HIGHEST
