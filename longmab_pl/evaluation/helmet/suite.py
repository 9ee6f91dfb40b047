"""HELMET's retrieval-augmented and long-document questions as a suite, by several ways of asking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.after_reasoning import AfterReasoning
from longmab_pl.evaluation.agentic.styles import Style
from longmab_pl.evaluation.agentic.tasks import (
    SAMPLING,
    ChoiceMatch,
    RougeMatch,
    SubstringMatch,
    check_styles,
    style_scores,
    task_of,
    tasks_of_style,
)
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.helmet.files import TASKS, Kind, read_task, tasks_in
from longmab_pl.evaluation.helmet_metrics import choice_metrics
from longmab_pl.evaluation.judge import Judge, RatingQuestion
from longmab_pl.evaluation.judged_results import judged_result
from longmab_pl.evaluation.longbench.judged import BEST_ANSWER, best_score
from longmab_pl.evaluation.metric import ItemScores
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.models.tokenizer import check_chat_template
from longmab_pl.shown import quoted
from longmab_pl.strategies.clarification_tree.paragraphs import PARAGRAPH_TOKENS

_JUDGED = "narrativeqa"
"""The task that a judge rates."""

_MEANS: dict[Kind, type[AfterReasoning]] = {"passages": SubstringMatch, "story": RougeMatch, "choice": ChoiceMatch}


class HELMETSuite(Suite):
    """HELMET's questions over retrieved passages and over novels (arXiv 2410.02694), as AgenticLU evaluates on them.

    Tasks: `kilt_nq`, `kilt_triviaqa`, `kilt_hotpotqa`, `kilt_popqa_3` (SubEM), `narrativeqa`, `infbench_qa_eng`
    (ROUGE-L F1) and `infbench_choice_eng` (exact match, or the option's letter or text), each as `<task>-<style>` for
    every way of asking. HELMET's files are read as they are; prompts are our own words and have no demonstrations.

    Args:
        data: folder with HELMET's files, at any depth (its `data/kilt`, InfiniteBench's `longbook_*.jsonl`).
        tasks: names of tasks; None: all that the folder has.
        styles: ways of asking, see `AgenticSuite`.
        limit: at most this many questions for each task; a question's rows at all depths are kept (HELMET: 100).
        seed: random seed of the sample.
        sampling: decoding of every turn; None: that of the AgenticLU evaluation (T 0.6, 1,024 new tokens).
        prompt_tokens: longer documents lose their middle; None: only the engine's limit cuts.
        paragraph_tokens: length of a paragraph of the agentic style, in tokens.
        asking: chat template and thinking mode.
        judge: rates answers to `narrativeqa` against each reference (the best counts), 1 to 3, as 0 to 100; null:
            ROUGE-L F1.
        name: name in metrics and in the folder of the predictions.

    Raises:
        ConfigError: a setting is out of range, or an unknown task or style.

    Example:
        >>> HELMETSuite("HELMET/data", tasks=["kilt_hotpotqa"], styles=["plain", "agentic"], limit=100).name
        'helmet'
    """

    def __init__(
        self,
        data: str,
        tasks: Sequence[str] | None = None,
        styles: Sequence[Style] = ("plain", "agentic"),
        limit: int | None = None,
        seed: int = 42,
        sampling: Sampling | None = None,
        prompt_tokens: int | None = None,
        paragraph_tokens: int = PARAGRAPH_TOKENS,
        asking: Asking | None = None,
        judge: Judge | None = None,
        name: str = "helmet",
    ) -> None:
        at_least("HELMETSuite.limit", limit, 1, or_null=True)
        at_least("HELMETSuite.prompt_tokens", prompt_tokens, 2, or_null=True)
        at_least("HELMETSuite.paragraph_tokens", paragraph_tokens, 8)
        unknown = sorted(set(tasks or ()) - set(TASKS))
        if unknown:
            raise ConfigError(f"HELMETSuite.tasks has {quoted(unknown[0])}; tasks are {', '.join(TASKS)}")
        self.data = data
        self.task_names = tasks
        self.styles = check_styles(styles, "HELMETSuite.styles")
        self.limit = limit
        self.seed = seed
        self.sampling = sampling or SAMPLING
        self.prompt_tokens = prompt_tokens
        self.paragraph_tokens = paragraph_tokens
        self.asking = asking or Asking()
        self.judge = judge
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        check_chat_template(tokenizer)
        made = []
        for name, path in tasks_in(Path(self.data), self.task_names).items():
            items = read_task(path, name, self.limit, self.seed)
            kind = TASKS[name].kind
            made += [
                task_of(
                    style,
                    name,
                    items,
                    means=_MEANS[kind],
                    scorer=_choice_scores if kind == "choice" else None,
                    sampling=self.sampling,
                    asking=self.asking,
                    prompt_tokens=self.prompt_tokens,
                    paragraph_tokens=self.paragraph_tokens,
                )
                for style in self.styles
            ]
        return made

    def rated(self, result: EvaluationResult, tasks: Sequence[EvaluationTask], folder: Path) -> EvaluationResult:
        stories = [task for task in tasks if task.name.rpartition("-")[0] == _JUDGED]
        if self.judge is None or not stories:
            return result
        judged = judged_result(
            result, stories, self.judge, folder, self._questions, _rating, self.asking, f"{self.name}: judging"
        )
        return judged.with_tasks({**result.tasks, **judged.tasks})

    def _questions(self, task: EvaluationTask, record: QARecord, answer: str) -> list[RatingQuestion]:
        assert self.judge is not None
        return [
            RatingQuestion(
                str(number),
                self.judge.prompts.answer,
                {"question": record.question, "reference": reference, "answer": answer},
                highest=BEST_ANSWER,
            )
            for number, reference in enumerate(record.answers)
        ]

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        return style_scores(result, self.styles)

    def headline_tasks(self, result: EvaluationResult) -> Sequence[str]:
        return tasks_of_style(result, self.styles[-1])


def _rating(task: EvaluationTask, ratings: Sequence[float | None]) -> float | None:
    return best_score(ratings, BEST_ANSWER)


def _choice_scores(answer: str, golds: Sequence[str]) -> ItemScores:
    letter, option = golds
    found = choice_metrics(answer, letter, option)
    return ItemScores({name: found[name] for name in ChoiceMatch.names}, bool(answer.strip()))
