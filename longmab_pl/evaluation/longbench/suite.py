"""LongBench, LongBench-E and custom tasks in their format, as a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from longmab_pl.checks import at_least
from longmab_pl.data.qa_fields import check_fields
from longmab_pl.evaluation.asking import SETTING
from longmab_pl.evaluation.longbench.loading import bad_rows_note
from longmab_pl.evaluation.longbench.task import longbench_tasks
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.models.tokenizer import check_chat_template


class LongBenchSuite(Suite):
    """LongBench (arXiv 2308.14508), LongBench-E and custom tasks, asked and scored as the official program does.

    The score is the mean of the tasks' main metrics, in 0..100.

    Args:
        data: a folder or zip of the official JSONL files, one JSONL file, or a hub name such as `THUDM/LongBench`.
        tasks: names or groups ("longbench", "longbench_e", "infinitebench"); None: all that the data has.
        name: name in metrics and in the folder of the predictions.
        limit: at most this many records per task, the same random sample every time.
        seed: random seed of the sample.
        fields: the data's names of `id, question, answers, context` where they are others: `{question: ask}`.
        official: folder with LongBench's own `dataset2prompt.json` / `dataset2maxlen.json`; None: our own prompts.
        chat: use the chat template as LongBench does, which leaves few-shot and code tasks without (`by_task`),
            `always`, or `never` (base models).
        max_prompt_tokens: longer prompts lose their middle; None: only the engine's limit cuts.
        max_new_tokens: longest answer; None: the task's own.
        presence_penalty: 0 is official; the LongMab-PO authors evaluate with 1.0.
        template_arguments: further variables of the chat template; None: those of the rollout's prompt format.
        enable_thinking: reasoning of thinking models (Qwen3) on or off; None: the template's default. Raise
            `max_new_tokens` with it.
        score_reasoning: score reasoning too, as the official program does; otherwise it is cut off.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> suite = LongBenchSuite("LongBench/data", tasks=["musique"], limit=50)
        >>> evaluation = Evaluation(suite, keep_best="best_adapter")
    """

    def __init__(
        self,
        data: str,
        tasks: list[str] | None = None,
        name: str = "longbench",
        limit: int | None = None,
        seed: int = 0,
        fields: dict[str, str] | None = None,
        official: str | None = None,
        chat: Literal["by_task", "always", "never"] = "by_task",
        max_prompt_tokens: int | None = None,
        max_new_tokens: int | None = None,
        presence_penalty: float = 0.0,
        template_arguments: dict[str, Any] | None = None,
        enable_thinking: bool | None = None,
        score_reasoning: bool = False,
    ) -> None:
        at_least("LongBenchSuite.limit", limit, 1, or_null=True)
        at_least("LongBenchSuite.max_new_tokens", max_new_tokens, 1, or_null=True)
        self.data = data
        self.task_names = tasks
        self._name = name
        self.limit = limit
        self.seed = seed
        self.fields = check_fields(fields)
        self.official = official
        self.chat = chat
        self.max_prompt_tokens = max_prompt_tokens
        self.max_new_tokens = max_new_tokens
        self.presence_penalty = presence_penalty
        self.template_arguments = template_arguments
        self.enable_thinking = enable_thinking
        self.score_reasoning = score_reasoning

    @property
    def name(self) -> str:
        return self._name

    def _template_arguments(self, context: SuiteContext) -> Mapping[str, Any]:
        arguments = self.template_arguments
        if arguments is None:
            arguments = {} if context.prompt_format is None else dict(context.prompt_format.template_arguments)
        return arguments if self.enable_thinking is None else {**arguments, SETTING: self.enable_thinking}

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        if self.chat == "always":
            check_chat_template(tokenizer)
        found, bad = longbench_tasks(
            self.data,
            self.task_names,
            limit=self.limit,
            seed=self.seed,
            fields=self.fields,
            official=self.official,
            max_prompt_tokens=self.max_prompt_tokens,
            presence_penalty=self.presence_penalty,
            template_arguments=self._template_arguments(context),
        )
        if bad:
            context.note(bad_rows_note(self.data, bad))
        changes: dict[str, Any] = {} if self.chat == "by_task" else {"chat": self.chat == "always"}
        if self.max_new_tokens is not None:
            changes["max_new_tokens"] = self.max_new_tokens
        return [
            replace(task, spec=replace(task.spec, **changes), score_reasoning=self.score_reasoning) for task in found
        ]
