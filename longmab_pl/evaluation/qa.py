"""The paper's QA protocol: reason, then answer; EM, F1 and SubEM of the extracted answer (LongMab-PO, section 4.1)."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from longmab_pl.checks import at_least, one_of
from longmab_pl.data.numbering import without_names
from longmab_pl.data.qa_fields import check_fields
from longmab_pl.data.readers import OnBadRecord, read_records
from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import middle_truncated
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, PromptTooLong
from longmab_pl.evaluation.asking import Asking
from longmab_pl.evaluation.benchmark_files import sample
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.longbench.loading import BadRow, bad_rows_note, load_items, tasks_there
from longmab_pl.evaluation.longbench.table import expand_tasks
from longmab_pl.evaluation.metric import ItemScores, RecordMetric
from longmab_pl.evaluation.middle_cut import surely_longer
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask, Prompt
from longmab_pl.evaluation.thinking import SETTING, WithoutReasoning, with_thinking
from longmab_pl.models.tokenizer import check_chat_template
from longmab_pl.prompts import encoding
from longmab_pl.prompts.formats import (
    NumberingFormat,
    PrefilledPrompt,
    PromptFormat,
    ReasonThenAnswer,
    numbered_for,
)
from longmab_pl.prompts.thoughts import with_broken_marks
from longmab_pl.rewards.answer_match import ANSWER_STYLES, AnswerStyle, answer_scores, extract_answer
from longmab_pl.shown import quoted

Cut = Literal["context", "prompt"]

GREEDY = Sampling(temperature=0.0, top_p=1.0, presence_penalty=1.0, max_tokens=1024)
"""The authors' evaluation sampling: greedy with presence penalty 1.0 and at most 1,024 new tokens."""


@dataclass(frozen=True)
class QATask:
    """Questions over long contexts, asked through a prompt format and scored by answer match.

    Args:
        name: name in results and files.
        records: the records to ask.
        protocol: prompt format; the same one as in the rollout.
        sampling: the authors' greedy settings by default.
        max_context_tokens: contexts above this many tokens are cut in the middle (authors: 100,000); None: only the
            engine's own limit cuts.
        style: how answers are read and compared (`longmab_pl.rewards.AnswerMatch`).
        cut: what loses its middle: the `context`, or the whole filled `prompt` as in the authors' program, question and
            instructions included.
        score_reasoning: read the answer from the reasoning too, as programs do that do not separate it.
    """

    name: str
    records: Sequence[QARecord]
    protocol: PromptFormat
    sampling: Sampling = field(default=GREEDY)
    max_context_tokens: int | None = None
    style: AnswerStyle = "paper"
    cut: Cut = "context"
    score_reasoning: bool = False

    def __post_init__(self) -> None:
        if not self.records:
            raise ConfigError(f"evaluation task {self.name!r} has no records")
        setting = f"max_context_tokens of evaluation task {self.name!r}"
        at_least(setting, self.max_context_tokens, 2, "use at least 2", or_null=True)
        others = sorted(self.protocol.template_arguments.keys() - {SETTING})
        if self.cut == "prompt" and others:
            raise ConfigError(
                f"evaluation task {self.name!r} cuts the whole prompt, which knows the template argument {SETTING} and "
                f"not {', '.join(map(quoted, others))}; leave them out, or set cut: context"
            )

    def metric(self) -> RecordMetric:
        arguments = self.protocol.template_arguments
        names_passages = isinstance(self.protocol, NumberingFormat)
        inner = QAMatch(self.style, score_reasoning=self.score_reasoning, names_passages=names_passages)
        return WithoutReasoning(inner, arguments, score_reasoning=self.score_reasoning)

    def settings(self) -> dict[str, Any]:
        protocol: dict[str, Any] = {"class": type(self.protocol).__name__}
        if is_dataclass(self.protocol) and not isinstance(self.protocol, type):
            protocol |= asdict(self.protocol)
        return {
            "task": self.name,
            "protocol": protocol,
            "sampling": asdict(self.sampling),
            "max_context_tokens": self.max_context_tokens,
            **({} if self.style == "paper" else {"style": self.style}),
            **({} if self.cut == "context" else {"cut": self.cut}),
        }

    def prompt(self, record: QARecord, tokenizer: Any, max_model_len: int) -> Prompt:
        room = max_model_len - self.sampling.max_tokens
        if self.cut == "prompt":
            return self._prompt_without_middle(record, tokenizer, room)
        reader = encoding.text_tokenizer(tokenizer, record.context)
        most = min(room, self.max_context_tokens or room)
        if not surely_longer(record.context, reader, most):
            ids = self.protocol.prompt_ids(tokenizer, record.context, record.question)
            if len(ids) <= most:
                return Prompt(ids, cut=False)  # the usual case costs one tokenization
        budget = room - self.protocol.prompt_overhead(tokenizer, record.question)
        if self.max_context_tokens is not None:
            budget = min(budget, self.max_context_tokens)
        while budget >= 2:
            context, cut = middle_truncated(record.context, reader, budget)
            ids = self.protocol.prompt_ids(tokenizer, context, record.question)
            if len(ids) <= room:
                return Prompt(ids, cut)
            # Tokens merge differently within the prompt, so a few more may have to be removed.
            budget -= len(ids) - room
        raise PromptTooLong(
            f"record {quoted(record.id)} of task {self.name!r}: question and instructions leave no room for the "
            f"context: the model takes {max_model_len} tokens and {self.sampling.max_tokens} are kept for the answer; "
            f"lower sampling.max_tokens or raise the engine's max_model_len"
        )

    def _prompt_without_middle(self, record: QARecord, tokenizer: Any, room: int) -> Prompt:
        turns = self.protocol.messages(record.context, record.question)
        if [turn["role"] for turn in turns] != ["user"]:
            raise ConfigError(
                f"cut: prompt wants a prompt format of one user turn; {type(self.protocol).__name__} has more"
            )
        prefix = self.protocol.prefill if isinstance(self.protocol, PrefilledPrompt) else ""
        asking = Asking(enable_thinking=self.protocol.template_arguments.get(SETTING))
        what = f"record {quoted(record.id)} of task {self.name!r}"
        text = turns[0]["content"]
        return asking.cut(tokenizer, text, room=room, limit=self.max_context_tokens, what=what, prefix=prefix)

    def response(self, text: str) -> str:
        return self.protocol.response(text)

    def gold(self, record: QARecord) -> dict[str, Any]:
        return {"input": record.question, "answers": list(record.answers)}

    def buckets(self) -> Mapping[str, Sequence[str]] | None:
        return None


class QAMatch(RecordMetric):
    """The paper's QA protocol: F1, EM and SubEM of the answer extracted from each response (LongMab-PO, section 4.1).

    Predictions are whole responses, the assistant prefill included.

    Args:
        style: how answers are read and compared; `paper` gives the numbers to compare with published ones.
        score_reasoning: search a thought for the answer too, as the authors' program does.
        names_passages: whether numbers in brackets (`[3]`) name passages and are no words of the answer.
    """

    names = ("f1", "em", "subem")

    def __init__(
        self, style: AnswerStyle = "paper", *, score_reasoning: bool = False, names_passages: bool = False
    ) -> None:
        super().__init__()
        self.style: AnswerStyle = style
        self.score_reasoning = score_reasoning
        self.names_passages = names_passages

    def score(self, prediction: str, answers: Sequence[str], all_classes: Sequence[str] | None = None) -> ItemScores:
        if self.score_reasoning:
            prediction = with_broken_marks(prediction)
        if self.names_passages:
            prediction = without_names(prediction)
        scores = answer_scores(prediction, answers, self.style)
        stated = extract_answer(prediction, self.style) is not None
        return ItemScores({name: scores[name] for name in self.names}, stated)


class QASuite(Suite):
    """Questions over their whole contexts: reason, then answer; EM, F1 and SubEM of the extracted answer.

    Paper: LongMab-PO, section 4.1 (a response without a readable answer scores 0).

    Args:
        data: records as for training (`shipped:synthetic_eval`, a JSONL file, a Hugging Face dataset), or a folder or
            zip of JSONL files, each of which is a task of its own. None: the records that the run holds out of its
            training data (`data.eval_fraction`).
        tasks: names of those files, or groups of LongBench tasks; None: all that the data has.
        name: name in metrics, the folder of the predictions, and the task where `data` is one set of questions.
        limit: at most this many records per task.
        seed: random seed of the sample; None: the first records.
        on_bad_record: `error` refuses a set of questions with bad records, `skip` reports and skips them. In a folder
            or zip they are always skipped.
        fields: the data's names of `id, question, answers, context` where they are others: `{question: ask}`.
        split: split of a folder or a data set whose name does not include it.
        prompt_format: None is the rollout's own; outside a run `ReasonThenAnswer`.
        sampling: None is `GREEDY`, the authors' settings.
        max_context_tokens: longer contexts lose their middle (authors: 100,000); None: only the engine's limit cuts.
        cut: what loses its middle: the `context`, or the whole filled `prompt` as in the authors' program.
        style: how answers are read and compared: as the `paper` does, whose scores can be compared with published
            ones, or `lenient`, as the reward `longmab_pl.rewards.AnswerMatch` of that style.
        enable_thinking: reasoning of thinking models (Qwen3) on or off; None: as the prompt format says. It is cut off
            before the answer is read.
        score_reasoning: read the answer from the reasoning too, as the authors' program does.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> evaluation = Evaluation(QASuite("questions.jsonl", limit=64), EvaluationSchedule(every_n_rounds=2))
    """

    def __init__(
        self,
        data: str | None = None,
        tasks: list[str] | None = None,
        name: str = "qa",
        limit: int | None = None,
        seed: int | None = None,
        on_bad_record: OnBadRecord = "error",
        fields: dict[str, str] | None = None,
        split: str = "train",
        prompt_format: PromptFormat | None = None,
        sampling: Sampling | None = None,
        max_context_tokens: int | None = None,
        style: AnswerStyle = "paper",
        enable_thinking: bool | None = None,
        cut: Cut = "context",
        score_reasoning: bool = False,
    ) -> None:
        one_of("QASuite.cut", cut, get_args(Cut))
        one_of("QASuite.style", style, ANSWER_STYLES)
        at_least("QASuite.limit", limit, 1, or_null=True)
        self.data = data
        self.task_names = tasks
        self._name = name
        self.limit = limit
        self.seed = seed
        self.on_bad_record = on_bad_record
        self.fields = check_fields(fields)
        self.split = split
        self.prompt_format = prompt_format
        self.sampling = sampling or GREEDY
        self.max_context_tokens = max_context_tokens
        self.enable_thinking = enable_thinking
        self.style: AnswerStyle = style
        self.cut: Cut = cut
        self.score_reasoning = score_reasoning

    @property
    def name(self) -> str:
        return self._name

    @property
    def headline(self) -> str:
        return "f1"

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        check_chat_template(tokenizer)
        prompt_format = self.prompt_format or context.prompt_format or ReasonThenAnswer()
        prompt_format = with_thinking(prompt_format, self.enable_thinking)
        return [
            QATask(
                name,
                numbered_for(prompt_format, sample(records, self.limit, self.seed)),
                prompt_format,
                self.sampling,
                self.max_context_tokens,
                self.style,
                self.cut,
                self.score_reasoning,
            )
            for name, records in self._question_sets(context)
        ]

    def _question_sets(self, context: SuiteContext) -> list[tuple[str, list[QARecord]]]:
        if self.data is None:
            if not context.held_out:
                raise ConfigError(
                    "QASuite.data is not set, and no records are held out for evaluation; give --eval FILE (in a "
                    "config: suite.init_args.data), or set data.eval_fraction: 0.1"
                )
            return [(self.name, list(context.held_out))]
        several = Path(self.data).is_dir() or (Path(self.data).is_file() and zipfile.is_zipfile(self.data))
        if several or self.task_names is not None:
            names = expand_tasks(self.task_names) if self.task_names is not None else tasks_there(self.data)
            found, bad = question_sets(self.data, names, self.fields)
            if bad:
                context.note(bad_rows_note(self.data, bad))
            return found
        file = read_records(self.data, on_bad_record=self.on_bad_record, split=self.split, fields=self.fields)
        if file.bad:
            context.note(file.skipped())
        return [(self.name, file.records)]

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        return {metric: Score(mean, *result.macro_intervals[metric]) for metric, mean in result.macro.items()}


def question_sets(
    data: str, names: Sequence[str], fields: Mapping[str, str] | None = None
) -> tuple[list[tuple[str, list[QARecord]]], list[BadRow]]:
    """Return the records of tasks by name, for the QA protocol, and the rows that cannot be used.

    Raises:
        ConfigError: a record has no question, or a task is unknown.
        DataError: the data does not exist, or a task has no usable row.
    """
    found: list[tuple[str, list[QARecord]]] = []
    bad: list[BadRow] = []
    for name in names:
        items, _, unusable = load_items(data, name, fields=fields)
        blank = sum(not item.question.strip() for item in items)
        if blank:
            raise ConfigError(
                f"task {name!r} has {blank} records without a question, so it cannot be asked as question answering; "
                "use longmab_pl.evaluation.LongBenchSuite, or name other tasks"
            )
        bad += unusable
        found.append((name, list(items)))
    return found, bad
