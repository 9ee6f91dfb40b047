"""LongBench v2 as a suite: accuracy of four-way choices, by difficulty and by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

from longmab_pl.checks import at_least, one_of
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import DataError
from longmab_pl.evaluation.after_reasoning import AccuracyAfterReasoning
from longmab_pl.evaluation.asking import THINKING_TOKENS, Asking
from longmab_pl.evaluation.benchmark_files import Row, check_ids, json_rows, sample
from longmab_pl.evaluation.estimate import Score
from longmab_pl.evaluation.group_scores import group_scores
from longmab_pl.evaluation.longbench_v2.decoding import COT_TOKENS, PROMPT_TOKENS, TOKENS
from longmab_pl.evaluation.longbench_v2.prompts import Chunk, Prompts, filled, filled_in_turn, retrieved, values
from longmab_pl.evaluation.longbench_v2.scoring import CHANCE, LETTERS, answer_letter
from longmab_pl.evaluation.longbench_v2.tasks import LikeliestLetter, ThoughtsFirst
from longmab_pl.evaluation.metric import ItemScores
from longmab_pl.evaluation.prompted_task import BenchmarkItem, PromptedTask
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.evaluation.suite import Suite, SuiteContext
from longmab_pl.evaluation.task import EvaluationTask

FILE = "data.json of the Hub data set THUDM/LongBench-v2 (a list of 503 questions)"

Mode = Literal["zero_shot", "no_context", "rag"]
Answer = Literal["letter", "cot", "log_likelihood"]


class LongBenchV2Suite(Suite):
    """LongBench v2 (arXiv 2412.15204): 503 questions with four options over contexts of 8,000 to 2 million words.

    Scores: `score` (accuracy), and the accuracy of each group: `difficulty-easy`, `difficulty-hard`, `length-short`,
    `length-medium`, `length-long`. Chance is 25.

    Args:
        data: the official `data.json`.
        mode: `zero_shot`; `no_context` (question and options only); `rag` (the first `chunks` of the field
            `retrieved_context`, in the order of the text).
        answer: `letter` asks for it at once; `cot` asks for thoughts first, then for the letter, with the thoughts in
            place of the text; `log_likelihood` takes the letter that the model finds likeliest after "The correct
            answer is (" and generates nothing (four times the prompt tokens; for thinking models set
            `asking.enable_thinking` to false).
        chunks: number of chunks for `rag`.
        limit: at most this many questions, the same random sample every time.
        seed: random seed of the sample.
        official_prompts: folder `prompts/` of the LongBench repository; None: our own wording.
        placeholders: `one_pass`, or `in_turn` as the official program does: then a context that spells out "$Q$" gets
            the question pasted in.
        compensated: count an answer without a letter as chance.
        empty: empty answers are `wrong`, or `left_out` as officially.
        prompt_tokens: longer prompts lose their middle (official: 120,000 for a window of 131,072).
        new_tokens: longest answer; None: the official 128, 4,096 for a model that is to think.
        cot_tokens: longest thoughts (official: 1,024).
        temperature: 0 is greedy; the official program samples at 0.1 without a seed.
        asking: chat template and thinking mode.
        name: name in metrics and in the folder of the predictions.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> evaluation = Evaluation(LongBenchV2Suite("LongBench-v2/data.json", limit=50))
    """

    def __init__(
        self,
        data: str,
        mode: Mode = "zero_shot",
        answer: Answer = "letter",
        chunks: int = 4,
        limit: int | None = None,
        seed: int = 0,
        official_prompts: str | None = None,
        placeholders: Literal["one_pass", "in_turn"] = "one_pass",
        compensated: bool = False,
        empty: Literal["wrong", "left_out"] = "wrong",
        prompt_tokens: int | None = PROMPT_TOKENS,
        new_tokens: int | None = None,
        cot_tokens: int = COT_TOKENS,
        temperature: float = 0.0,
        asking: Asking | None = None,
        name: str = "longbench_v2",
    ) -> None:
        at_least("LongBenchV2Suite.chunks", chunks, 1)
        at_least("LongBenchV2Suite.limit", limit, 1, or_null=True)
        at_least("LongBenchV2Suite.prompt_tokens", prompt_tokens, 2, or_null=True)
        at_least("LongBenchV2Suite.new_tokens", new_tokens, 1, or_null=True)
        at_least("LongBenchV2Suite.cot_tokens", cot_tokens, 1)
        one_of("LongBenchV2Suite.mode", mode, get_args(Mode), f"use one of {', '.join(get_args(Mode))}")
        one_of("LongBenchV2Suite.answer", answer, get_args(Answer), f"use one of {', '.join(get_args(Answer))}")
        self.data = data
        self.mode = mode
        self.answer = answer
        self.chunks = chunks
        self.limit = limit
        self.seed = seed
        self.prompts = Prompts() if official_prompts is None else Prompts.official(official_prompts)
        self.placeholders = placeholders
        self.compensated = compensated
        self.empty = empty
        self.prompt_tokens = prompt_tokens
        self.cot_tokens = cot_tokens
        self.asking = asking or Asking()
        new_tokens = new_tokens or (THINKING_TOKENS if self.asking.enable_thinking else TOKENS)
        self.sampling = Sampling(temperature=temperature, top_p=1.0, presence_penalty=0.0, max_tokens=new_tokens)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def tasks(self, tokenizer: Any, context: SuiteContext) -> Sequence[EvaluationTask]:
        rows = json_rows(self.data, FILE)
        items = [self._item(row) for row in rows]
        check_ids(items, rows)
        return [self._task(sample(items, self.limit, self.seed))]

    def _task(self, items: Sequence[BenchmarkItem]) -> PromptedTask:
        in_turn = self.placeholders == "in_turn"
        template = self._template()
        common: dict[str, Any] = {
            "name": self.name,
            "records": items,
            "fill": partial(_fill, template, in_turn=in_turn),
            "scorer": partial(_score, self.compensated, self.empty == "left_out"),
            "asking": self.asking,
            "sampling": self.sampling,
            "prompt_tokens": self.prompt_tokens,
            "template": f"{self.placeholders}: {template}",
            "means": AccuracyAfterReasoning,
        }
        if self.answer == "log_likelihood":
            return LikeliestLetter(**common)
        if self.answer == "cot":
            common["sampling"] = replace(self.sampling, max_tokens=self.cot_tokens)
            common["template"] += f"\n\n{self.prompts.cot_answer}"
            second = partial(_fill_answer, self.prompts.cot_answer, in_turn=in_turn)
            return ThoughtsFirst(**common, fill_answer=second, answer_tokens=self.sampling.max_tokens)
        return PromptedTask(**common)

    def _template(self) -> str:
        templates = {
            "zero_shot": self.prompts.cot if self.answer == "cot" else self.prompts.zero_shot,
            "no_context": self.prompts.no_context,
            "rag": self.prompts.rag,
        }
        return templates[self.mode]

    def scores(self, result: EvaluationResult) -> dict[str, Score]:
        task = result.tasks[self.name]
        return {"score": Score(task.score, *task.intervals[task.metric]), **group_scores(result)}

    def _item(self, row: Row) -> BenchmarkItem:
        return item_of(row, self.chunks if self.mode == "rag" else None)


def item_of(row: Row, chunks: int | None) -> BenchmarkItem:
    """Return the item of a row.

    Args:
        row: row of the official file.
        chunks: number of retrieved chunks to use instead of the context; None: use the context.

    Raises:
        DataError: a field is missing or empty, or the answer is not the letter of an option.
    """
    if chunks is None:
        document = row.filled("context")
    else:
        given = row.values.get("retrieved_context")
        if not isinstance(given, list) or not given:
            raise DataError(
                f"{row.where}: mode rag wants a field 'retrieved_context', a list of "
                '{"c_idx", "content"}; the official file has none, LongCite\'s retrieve.py makes it'
            )
        try:
            document = retrieved([Chunk(int(chunk["c_idx"]), str(chunk["content"])) for chunk in given], chunks)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{row.where}: a chunk of 'retrieved_context' lacks c_idx or content") from error
    letter = row.one_of("answer", LETTERS)
    difficulty, length = row.text("difficulty"), row.text("length")
    return BenchmarkItem(
        id=row.text("_id"),
        question=row.filled("question"),
        answers=(letter,),
        context=document,
        options=tuple(row.text(f"choice_{name}") for name in LETTERS),
        groups={
            "difficulty": difficulty if difficulty == "easy" else "hard",
            "length": length if length in ("short", "medium") else "long",
        },
    )


def _fill(template: str, item: BenchmarkItem, *, in_turn: bool) -> str:
    given = values(item.context, item.question, item.options)
    return (filled_in_turn if in_turn else filled)(template, given)


def _fill_answer(template: str, item: BenchmarkItem, thoughts: str, *, in_turn: bool) -> str:
    # The document stays out, also where a template has its placeholder.
    given = {**values(item.context, item.question, item.options), "$DOC$": "$DOC$", "$COT$": thoughts}
    return (filled_in_turn if in_turn else filled)(template, given)


def _score(compensated: bool, leave_out_empty: bool, answer: str, golds: Sequence[str]) -> ItemScores:
    letter = answer_letter(answer)
    missing = CHANCE if compensated else 0.0
    return ItemScores(
        {"accuracy": missing if letter is None else float(letter in golds)},
        letter is not None,
        counted=bool(answer.strip()) or not leave_out_empty,
    )
