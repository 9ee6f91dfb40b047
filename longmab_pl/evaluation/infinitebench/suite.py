"""InfiniteBench En.QA as a suite: questions about whole novels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from longmab_pl.checks import at_least
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation.benchmark_files import sample
from longmab_pl.evaluation.longbench.loading import bad_rows_note
from longmab_pl.evaluation.longbench.table import INFINITEBENCH
from longmab_pl.evaluation.longbench.task import longbench_tasks
from longmab_pl.evaluation.qa import GREEDY, QATask, question_sets
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.models.tokenizer import check_chat_template
from longmab_pl.prompts.formats import PromptFormat, ReasonThenAnswer


class InfiniteBenchSuite(Suite):
    """InfiniteBench En.QA (`longbook_qa_eng`, arXiv 2402.13718): 351 questions about novels of 190,000 tokens on
    average, with the characters' names replaced so that memory does not help.

    Two protocols: `qa` is the one that the LongMab-PO authors report (reason, then answer; EM, F1 and SubEM of the
    extracted answer), `infinitebench` the benchmark's own (a brief answer of at most 40 tokens; token F1, best over
    the gold answers).

    Args:
        data: a folder with `longbook_qa_eng.jsonl`, that file, or a hub name.
        protocol: protocol of prompts and scores.
        name: name in metrics and in the folder of the predictions.
        limit: at most this many questions, the same random sample every time.
        seed: random seed of the sample.
        prompt_format: qa: None is `ReasonThenAnswer`.
        sampling: qa: None is greedy with the authors' presence penalty and 1,024 new tokens.
        max_prompt_tokens: longer books lose their middle (authors: 100,000); None: only the engine's limit cuts.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> evaluation = Evaluation(InfiniteBenchSuite(limit=50), EvaluationSchedule(every_n_rounds=None))
    """

    def __init__(
        self,
        data: str = "xinrongzhang2022/InfiniteBench",
        protocol: Literal["qa", "infinitebench"] = "qa",
        name: str = "infinitebench",
        limit: int | None = None,
        seed: int = 0,
        prompt_format: PromptFormat | None = None,
        sampling: Sampling | None = None,
        max_prompt_tokens: int | None = 100_000,
    ) -> None:
        at_least("InfiniteBenchSuite.limit", limit, 1, or_null=True)
        self.data = data
        self.protocol = protocol
        self._name = name
        self.limit = limit
        self.seed = seed
        self.prompt_format = prompt_format or ReasonThenAnswer()
        self.sampling = sampling or GREEDY
        self.max_prompt_tokens = max_prompt_tokens

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        tasks: Sequence[EvaluationTask]
        if self.protocol == "infinitebench":
            tasks, bad = longbench_tasks(
                self.data, INFINITEBENCH, limit=self.limit, seed=self.seed, max_prompt_tokens=self.max_prompt_tokens
            )
        else:
            check_chat_template(tokenizer)
            found, bad = question_sets(self.data, INFINITEBENCH)
            tasks = [
                QATask(
                    name,
                    sample(records, self.limit, self.seed),
                    self.prompt_format,
                    self.sampling,
                    self.max_prompt_tokens,
                )
                for name, records in found
            ]
        if bad:
            context.note(bad_rows_note(self.data, bad))
        return tasks
