"""Your own questions, asked plainly, by prompting methods, and by agentic inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from longmab_pl.checks import at_least, one_of
from longmab_pl.data.qa_fields import check_fields
from longmab_pl.data.readers import OnBadRecord, read_records
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.evaluation.agentic.styles import Style
from longmab_pl.evaluation.agentic.tasks import (
    SAMPLING,
    RougeMatch,
    SubstringMatch,
    check_styles,
    style_scores,
    task_of,
    tasks_of_style,
)
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.benchmark_files import sample
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.prompted_task import BenchmarkItem
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.models.tokenizer import check_chat_template
from longmab_pl.strategies.clarification_tree.paragraphs import PARAGRAPH_TOKENS


class AgenticSuite(Suite):
    """Questions over their whole contexts by several ways of asking; agentic inference takes five turns a question.

    Ways (`styles`): `plain`, `step_by_step`, `plan_and_solve`, `fact_and_reflection`, `agentic` (ask a clarifying
    question, point back to paragraphs, answer it, answer the question, check). Each is a task `<name>-<style>`; scores
    are HELMET's, over the raw and the stated answer. `score` is that of the last style.

    Args:
        data: records as for training (`shipped:multihop_eval`, a JSONL file, a Hugging Face dataset).
        styles: ways of asking.
        metric: what `score` is: `substring` (SubEM, for short answers) or `rouge` (ROUGE-L F1).
        name: name in metrics, the folder of the predictions, and the tasks.
        limit: at most this many questions, the same random sample every time.
        seed: random seed of the sample.
        on_bad_record: `error` refuses data with bad records, `skip` reports and skips them.
        fields: the data's names of `id, question, answers, context` where they are others.
        split: split of a folder or a data set whose name does not include it.
        sampling: decoding of every turn; None: that of the AgenticLU evaluation (T 0.6, 1,024 new tokens).
        prompt_tokens: longer documents lose their middle; None: only the engine's limit cuts.
        paragraph_tokens: length of a paragraph in tokens.
        asking: chat template and thinking mode.

    Raises:
        ConfigError: a setting is out of range, or an unknown style.

    Example:
        >>> AgenticSuite("shipped:multihop_eval", styles=["plain", "agentic"], limit=20).name
        'agentic'

    Source: AgenticLU (arXiv 2502.15920), sections 3.4 and 4.
    """

    def __init__(
        self,
        data: str = "shipped:multihop_eval",
        styles: Sequence[Style] = ("plain", "agentic"),
        metric: Literal["substring", "rouge"] = "substring",
        name: str = "agentic",
        limit: int | None = None,
        seed: int = 0,
        on_bad_record: OnBadRecord = "error",
        fields: dict[str, str] | None = None,
        split: str = "train",
        sampling: Sampling | None = None,
        prompt_tokens: int | None = None,
        paragraph_tokens: int = PARAGRAPH_TOKENS,
        asking: Asking | None = None,
    ) -> None:
        at_least("AgenticSuite.limit", limit, 1, or_null=True)
        at_least("AgenticSuite.prompt_tokens", prompt_tokens, 2, or_null=True)
        at_least("AgenticSuite.paragraph_tokens", paragraph_tokens, 8)
        one_of("AgenticSuite.metric", metric, ("substring", "rouge"))
        self.data = data
        self.styles = check_styles(styles, "AgenticSuite.styles")
        self.means = SubstringMatch if metric == "substring" else RougeMatch
        self._name = name
        self.limit = limit
        self.seed = seed
        self.on_bad_record = on_bad_record
        self.fields = check_fields(fields)
        self.split = split
        self.sampling = sampling or SAMPLING
        self.prompt_tokens = prompt_tokens
        self.paragraph_tokens = paragraph_tokens
        self.asking = asking or Asking()

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        check_chat_template(tokenizer)
        found = read_records(self.data, on_bad_record=self.on_bad_record, split=self.split, fields=self.fields)
        if found.bad:
            context.note(found.skipped())
        items = [_item(record) for record in sample(found.records, self.limit, self.seed)]
        return [
            task_of(
                style,
                self.name,
                items,
                means=self.means,
                sampling=self.sampling,
                asking=self.asking,
                prompt_tokens=self.prompt_tokens,
                paragraph_tokens=self.paragraph_tokens,
            )
            for style in self.styles
        ]

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        return style_scores(result, self.styles)

    def headline_tasks(self, result: EvaluationResult) -> Sequence[str]:
        return tasks_of_style(result, self.styles[-1])


def _item(record: QARecord) -> BenchmarkItem:
    return BenchmarkItem(id=record.id, question=record.question, answers=record.answers, context=record.context)
