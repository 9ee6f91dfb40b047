"""InfiniteBench inside training: questions about whole novels, with the current adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lightning import Trainer

from longmab_pl.callbacks.longbench_evaluation import LongBenchEvaluation
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation.longbench.loading import sample
from longmab_pl.evaluation.longbench.table import INFINITEBENCH
from longmab_pl.evaluation.qa import GREEDY, QATask
from longmab_pl.evaluation.suites import question_sets
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.prompts.formats import PromptFormat, ReasonThenAnswer


class InfiniteBenchEvaluation(LongBenchEvaluation):
    """Runs InfiniteBench En.QA (`longbook_qa_eng`, arXiv 2402.13718): 351 questions about novels of 190,000 tokens on
    average, whose names were exchanged so that memory does not help.

    Two protocols: `qa` is the one that the LongMab-PO authors report (reason, then answer; EM, F1 and SubEM of the
    extracted answer), `infinitebench` the benchmark's own (a brief answer of at most 40 tokens; token F1, best over
    the gold answers). Metrics, files, the test against the first evaluation and the best adapter are those of
    `LongBenchEvaluation`, under this one's name.

    Args:
        data: a folder with `longbook_qa_eng.jsonl`, that file, or a hub name.
        protocol: how to ask and score.
        prompt_format: qa: the prompt format; None is `ReasonThenAnswer`.
        sampling: qa: greedy by default, with the authors' presence penalty and 1,024 new tokens.
        limit: at most this many questions, the same random sample every time.
        name: names metrics and folders.
        max_prompt_tokens: longer books lose their middle (authors: 100,000); None: only the engine's limit cuts.
        before_training, every_n_rounds, every_n_steps, at_end, best_adapter, seed: as of `LongBenchEvaluation`.

    Raises:
        ConfigError: a setting is out of range, or the settings never evaluate.
    """

    def __init__(
        self,
        data: str = "xinrongzhang2022/InfiniteBench",
        protocol: Literal["qa", "infinitebench"] = "qa",
        prompt_format: PromptFormat | None = None,
        sampling: Sampling | None = None,
        limit: int | None = None,
        name: str = "infinitebench",
        max_prompt_tokens: int | None = 100_000,
        before_training: bool = True,
        every_n_rounds: int | None = 1,
        every_n_steps: int | None = None,
        at_end: bool = True,
        best_adapter: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            data,
            tasks=list(INFINITEBENCH),
            limit=limit,
            name=name,
            max_prompt_tokens=max_prompt_tokens,
            before_training=before_training,
            every_n_rounds=every_n_rounds,
            every_n_steps=every_n_steps,
            at_end=at_end,
            best_adapter=best_adapter,
            seed=seed,
        )
        self.protocol = protocol
        self.prompt_format = prompt_format or ReasonThenAnswer()
        self.sampling = sampling or GREEDY

    def read_tasks(self, trainer: Trainer) -> Sequence[EvaluationTask]:
        if self.protocol == "infinitebench":
            return super().read_tasks(trainer)
        found, bad = question_sets(self.data, INFINITEBENCH)
        self.tell_bad_rows(trainer, bad)
        return [
            QATask(
                name, sample(records, self.limit, self.seed), self.prompt_format, self.sampling, self.max_prompt_tokens
            )
            for name, records in found
        ]
