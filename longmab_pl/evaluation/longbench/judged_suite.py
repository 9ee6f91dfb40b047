"""LongBench with a judge, as a suite: twelve tasks, rated from 1 to 3 (answers) or 1 to 5 (summaries)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.judge import Judge, RatingQuestion
from longmab_pl.evaluation.judged_results import judged_result, unrated
from longmab_pl.evaluation.longbench.judged import ANSWER_TASKS, SUMMARY_TASKS, best_rating, best_score
from longmab_pl.evaluation.longbench.loading import bad_rows_note
from longmab_pl.evaluation.longbench.task import LongBenchTask, longbench_tasks
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.models.tokenizer import check_chat_template

GROUPS = {
    "single_document": ANSWER_TASKS[:4],
    "multi_document": ANSWER_TASKS[4:],
    "summaries": SUMMARY_TASKS,
}
"""Tasks by the group whose mean is a score of its own."""

_QUESTION = "{context}\n\n{input}"
_PROMPTS = {
    "gov_report": "Report:\n{context}\n\nSummarize the report above on one page.",
    "qmsum": "Meeting transcript:\n{context}\n\n{input}\nAnswer with a summary of one page at most.",
    "multi_news": "News:\n{context}\n\nSummarize the news above on one page.",
    "vcsum": "会议记录：\n{context}\n\n请用一页纸总结上面的会议记录。",
}


class JudgedLongBenchSuite(Suite):
    """LongBench's twelve question-answering and summary tasks with a judge in place of string metrics.

    Every answer is compared with each of its references; the best counts. Ratings become scores from 0 to 100: 1 to 3
    for answers, 1 to 5 for summaries. An answer without a readable rating is reported and not scored.

    Args:
        data: folder, zip, file or hub name, as for `LongBenchSuite`.
        judge: the judge.
        tasks: some of the twelve; None: all of them.
        name: name in metrics and in the folder of the predictions.
        limit: at most this many records per task, the same random sample every time.
        seed: random seed of the sample.
        max_prompt_tokens: longer prompts lose their middle (official: 64,000).
        max_new_tokens: longest answer.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> suite = JudgedLongBenchSuite("LongBench/data", Judge("Qwen/Qwen2.5-7B-Instruct"), limit=50)
        >>> suite.name
        'longbench_judge'

    Source: LongReward (arXiv:2410.21252), section 4.1, and `evaluation/LongBench`.
    """

    def __init__(
        self,
        data: str,
        judge: Judge,
        tasks: list[str] | None = None,
        name: str = "longbench_judge",
        limit: int | None = None,
        seed: int = 0,
        max_prompt_tokens: int | None = 64_000,
        max_new_tokens: int = 1024,
    ) -> None:
        at_least("JudgedLongBenchSuite.limit", limit, 1, or_null=True)
        at_least("JudgedLongBenchSuite.max_new_tokens", max_new_tokens, 1)
        self.data = data
        self.judge = judge
        self.task_names = list(tasks) if tasks is not None else [*ANSWER_TASKS, *SUMMARY_TASKS]
        self._name = name
        self.limit = limit
        self.seed = seed
        self.max_prompt_tokens = max_prompt_tokens
        self.max_new_tokens = max_new_tokens

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_judged(self) -> bool:
        return True

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        check_chat_template(tokenizer)
        found, bad = longbench_tasks(
            self.data,
            self.task_names,
            limit=self.limit,
            seed=self.seed,
            max_prompt_tokens=self.max_prompt_tokens,
        )
        if bad:
            context.note(bad_rows_note(self.data, bad))
        return [self._asked(task) for task in found]

    def _asked(self, task: LongBenchTask) -> LongBenchTask:
        prompt = _PROMPTS.get(task.spec.name, _QUESTION)
        spec = replace(task.spec, prompt=prompt, chat=True, max_new_tokens=self.max_new_tokens, first_line=False)
        return replace(task, spec=spec)

    def rated(self, result: EvaluationResult, tasks: Sequence[EvaluationTask], folder: Path) -> EvaluationResult:
        return judged_result(result, tasks, self.judge, folder, self._questions, _score, Asking(), f"{self.name} judge")

    def _questions(self, task: EvaluationTask, record: QARecord, answer: str) -> Sequence[RatingQuestion]:
        if task.name in SUMMARY_TASKS:
            prompt, asked = self.judge.prompts.summary, {}
        else:
            prompt, asked = self.judge.prompts.answer, {"question": record.question}
        return [
            RatingQuestion(str(n), prompt, {**asked, "reference": reference, "answer": answer}, best_rating(task.name))
            for n, reference in enumerate(record.answers)
        ]

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        scores = {"score": Score(result.score, *result.score_interval())}
        for group, names in GROUPS.items():
            part = result.only([name for name in names if name in result.tasks])
            if part.tasks:
                scores[group] = Score(part.score, *part.score_interval())
        return {**scores, "unrated": Score(float(sum(unrated(result).values())))}


def _score(task: EvaluationTask, ratings: Sequence[float | None]) -> float | None:
    return best_score(ratings, best_rating(task.name))
