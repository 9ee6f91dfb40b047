"""SeaLong's evaluation: SubEM of the whole response on five tasks of LongBench, asked by the plan-and-solve prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.evaluation.longbench.loading import bad_rows_note
from longmab_pl.evaluation.longbench.task import LongBenchTask, longbench_tasks
from longmab_pl.evaluation.metric import ItemScores, RecordMetric
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.models.tokenizer import check_chat_template
from longmab_pl.prompts.reasoning import INSTRUCTIONS, reasoning_prompt
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.answer_match import substring_match

TASKS = ("qasper", "multifieldqa_en", "hotpotqa", "musique", "2wikimqa")
"""The tasks of the paper's average; its program also has narrativeqa."""


class SubEM(RecordMetric):
    """Whether a gold answer occurs in the response after normalization; a thought before it does not count."""

    names = ("subem",)

    def score(self, prediction: str, answers: Sequence[str], all_classes: Sequence[str] | None = None) -> ItemScores:
        return ItemScores({"subem": float(substring_match(without_thought(prediction), answers))}, True)


class SubEMTask(LongBenchTask):
    """A LongBench task scored by `SubEM`."""

    def metric(self) -> RecordMetric:
        return SubEM()


class SubEMSuite(Suite):
    """SubEM on LongBench's Qasper, MultiFieldQA, HotpotQA, MuSiQue and 2WikiMultihopQA, as SeaLong evaluates.

    Prompts reason before they answer, decoding is greedy, nothing is cut but what the engine cannot take.

    Args:
        data: folder, zip, file or hub name, as for `LongBenchSuite`.
        tasks: LongBench tasks with gold answers; None: the five of the paper.
        name: name in metrics and in the folder of the predictions.
        limit: at most this many records per task, the same random sample every time.
        seed: random seed of the sample.
        instruction: text after the question; None: the plan-and-solve instruction.
        max_new_tokens: longest response.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> callback = Evaluation(SubEMSuite("THUDM/LongBench", limit=50))

    Source: SeaLong (arXiv:2411.08147), section 4, and `eval_longbench_qa.py`.
    """

    def __init__(
        self,
        data: str,
        tasks: list[str] | None = None,
        name: str = "subem",
        limit: int | None = None,
        seed: int = 0,
        instruction: str | None = None,
        max_new_tokens: int = 1024,
    ) -> None:
        at_least("SubEMSuite.limit", limit, 1, or_null=True)
        at_least("SubEMSuite.max_new_tokens", max_new_tokens, 1)
        self.data = data
        self.task_names = list(tasks) if tasks is not None else list(TASKS)
        self._name = name
        self.limit = limit
        self.seed = seed
        self.instruction = INSTRUCTIONS["plan_and_solve"] if instruction is None else instruction
        self.max_new_tokens = max_new_tokens

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        check_chat_template(tokenizer)
        found, bad = longbench_tasks(self.data, self.task_names, limit=self.limit, seed=self.seed)
        if bad:
            context.note(bad_rows_note(self.data, bad))
        braced = self.instruction.replace("{", "{{").replace("}", "}}")
        prompt = reasoning_prompt("{context}", "{input}", braced)
        specs = [replace(task.spec, prompt=prompt, chat=True, max_new_tokens=self.max_new_tokens) for task in found]
        return [SubEMTask(task.name, task.records, spec) for task, spec in zip(found, specs, strict=True)]
