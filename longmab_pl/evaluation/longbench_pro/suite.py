"""LongBench Pro as a suite: 25 tasks in two languages at six lengths, each with a metric of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from longmab_pl.checks import at_least, one_of
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.after_reasoning import Scorer
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.benchmark_files import Row, check_ids, json_rows, sample
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.group_scores import group_scores
from longmab_pl.evaluation.longbench_pro.aggregation import Run, best_of, passed
from longmab_pl.evaluation.longbench_pro.prompts import prompt
from longmab_pl.evaluation.longbench_pro.scoring import SUMMARY, TASKS, item_score, summary
from longmab_pl.evaluation.metric import ItemScores
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.models.embedder import Embedder

FILE = "longbench_pro.json of the Hub data set caskcsg/LongBench-Pro (a list of 1,500 items)"
LENGTHS = ("8k", "16k", "32k", "64k", "128k", "256k")
_RUN = "#"


class LongBenchProSuite(Suite):
    """LongBench Pro (arXiv 2601.02872): 25 tasks in English and Chinese at six lengths, each with its own metric.

    Scores: `score` (mean over items), and the means of `length-8k` to `length-256k`, `language-English`,
    `language-Chinese`, and of each difficulty, requirement and primary task; with several runs also `best-of-<runs>`
    and `pass-at-<runs>`.

    Args:
        data: the official `longbench_pro.json`.
        language: only English or Chinese items; None: both.
        lengths: only items of these lengths; None: all.
        thinking_question: ask for steps before the answer, in the data's own words. Models that think by themselves
            get the other question, also officially.
        embedder: embedder of the two summary tasks (T4.1, T4.2; officially Qwen/Qwen3-Embedding-8B), half of whose
            score is a similarity; None: they are left out.
        runs: answers to each item (officially three); several need a temperature above 0.
        limit: at most this many items for each task, the same random sample every time.
        seed: random seed of the sample.
        prompt_tokens: longer prompts lose their middle (official: 120,000 for a window of 131,072).
        new_tokens: longest answer; None: the official 1,024, with the thinking question or a model that is to think
            8,192.
        temperature: 0 is greedy; officially the model's own, 1.0 if it has none.
        asking: chat template and thinking mode.
        name: name in metrics and in the folder of the predictions.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> evaluation = Evaluation(LongBenchProSuite("longbench_pro.json", lengths=["8k", "16k"], limit=100))
    """

    def __init__(
        self,
        data: str,
        language: str | None = None,
        lengths: Sequence[str] | None = None,
        thinking_question: bool = False,
        embedder: Embedder | None = None,
        runs: int = 1,
        limit: int | None = None,
        seed: int = 0,
        prompt_tokens: int | None = 120_000,
        new_tokens: int | None = None,
        temperature: float = 0.0,
        asking: Asking | None = None,
        name: str = "longbench_pro",
    ) -> None:
        at_least("LongBenchProSuite.limit", limit, 1, or_null=True)
        at_least("LongBenchProSuite.prompt_tokens", prompt_tokens, 2, or_null=True)
        at_least("LongBenchProSuite.new_tokens", new_tokens, 1, or_null=True)
        at_least("LongBenchProSuite.runs", runs, 1)
        if runs > 1 and temperature == 0:
            raise ConfigError(
                f"LongBenchProSuite.runs is {runs} and temperature is 0, which gives the same answer each time; set a "
                "temperature (officially 1.0), or 1 run"
            )
        for length in lengths or ():
            one_of("LongBenchProSuite.lengths", length, LENGTHS)
        one_of("LongBenchProSuite.language", language, ("English", "Chinese", None))
        self.data = data
        self.embedder = embedder
        self.runs = runs
        self.language = language
        self.lengths = lengths
        self.thinking_question = thinking_question
        self.limit = limit
        self.seed = seed
        self.prompt_tokens = prompt_tokens
        self.asking = asking or Asking()
        new_tokens = new_tokens or (8192 if thinking_question or self.asking.enable_thinking else 1024)
        self.sampling = Sampling(temperature=temperature, top_p=1.0, presence_penalty=0.0, max_tokens=new_tokens)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        by_task: dict[str, list[BenchmarkItem]] = {}
        rows = json_rows(self.data, FILE)
        items = [item_of(row, self.thinking_question) for row in rows]
        check_ids(items, rows)
        for row, item in zip(rows, items, strict=True):
            if self.language in (None, item.groups["language"]) and (
                self.lengths is None or item.groups["length"] in self.lengths
            ):
                by_task.setdefault(row.one_of("secondary_task", tuple(TASKS)), []).append(item)
        summaries = [name for name in by_task if TASKS[name] == SUMMARY and self.embedder is None]
        left_out = sum(len(by_task.pop(name)) for name in summaries)
        if left_out:
            context.note(
                f"{self.data}: {left_out} summaries are left out; set embedder (officially Qwen/Qwen3-Embedding-8B), "
                "whose similarity is half of their score"
            )
        found = [self._task(name, items) for name, items in sorted(by_task.items())]
        if not found:
            raise ConfigError(
                f"{self.data} has no item of language {self.language} and lengths {self.lengths} that can be scored"
            )
        return found

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        counts = [task.n for task in result.tasks.values()]
        total = sum(n * task.score for n, task in zip(counts, result.tasks.values(), strict=True))
        return {"score": Score(total / sum(counts)), **group_scores(result), **self._over_runs(result)}

    def _over_runs(self, result: EvaluationResult) -> dict[str, Score]:
        if self.runs == 1:
            return {}
        rows = [
            Run(item.id.rpartition(_RUN)[0], int(item.id.rpartition(_RUN)[2]), item.scores["score"], task, "")
            for task, found in result.tasks.items()
            for item in found.items
        ]
        return {
            f"best-of-{self.runs}": Score(100 * best_of(rows, self.runs)),
            f"pass-at-{self.runs}": Score(100 * passed(rows, self.runs)),
        }

    def _task(self, name: str, items: Sequence[BenchmarkItem]) -> PromptedTask:
        return PromptedTask(
            name=name.split(" ")[0],
            records=self._repeated(sample(items, self.limit, self.seed)),
            fill=_fill,
            scorer=self._scorer(name, items),
            asking=self.asking,
            sampling=self.sampling,
            prompt_tokens=self.prompt_tokens,
            template="question_thinking" if self.thinking_question else "question_nonthinking",
        )

    def _scorer(self, name: str, items: Sequence[BenchmarkItem]) -> Scorer:
        if TASKS[name] != SUMMARY or self.embedder is None:
            return partial(_score, name)
        chinese = frozenset(item.answers for item in items if item.groups["language"] == "Chinese")
        return partial(_summary_score, self.embedder, chinese)

    def _repeated(self, items: Sequence[BenchmarkItem]) -> list[BenchmarkItem]:
        """Return the items once for each run."""
        if self.runs == 1:
            return list(items)
        return [replace(item, id=f"{item.id}{_RUN}{n}") for item in items for n in range(1, self.runs + 1)]


def item_of(row: Row, thinking_question: bool) -> BenchmarkItem:
    """Return the item of a row. Raises `DataError` for a field that is missing or an unknown task."""
    return BenchmarkItem(
        id=row.text("id"),
        question=row.text("question_thinking" if thinking_question else "question_nonthinking"),
        answers=tuple(row.texts("answer")),
        context=row.text("context"),
        groups={
            "length": row.one_of("token_length", LENGTHS),
            "language": row.one_of("language", ("English", "Chinese")),
            "difficulty": row.text("difficulty"),
            "requirement": row.text("contextual_requirement"),
            "task": row.text("primary_task"),
        },
    )


def _fill(item: BenchmarkItem) -> str:
    return prompt(item.context, item.question)


def _summary_score(
    embedder: Embedder, chinese: frozenset[tuple[str, ...]], answer: str, golds: Sequence[str]
) -> ItemScores:
    text = answer.strip()
    if not text:
        return ItemScores({"score": 0.0}, False)
    vectors = embedder.encode([text.lower(), *(gold.lower() for gold in golds)])
    similarities = [float(vectors[0] @ vector) for vector in vectors[1:]]
    score = summary(golds, text, tuple(golds) in chinese, similarities)
    return ItemScores({"score": score if 0 <= score <= 1 else 0.0}, 0 <= score <= 1)


def _score(task: str, answer: str, golds: Sequence[str]) -> ItemScores:
    score = item_score(task, golds, answer.strip())
    return ItemScores({"score": score or 0.0}, score is not None)
