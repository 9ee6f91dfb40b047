"""RULER's thirteen tasks: what each is made of, and its examples for a length in the model's own tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler import scoring, texts
from longmab_pl.evaluation.ruler.common_words import STEP as WORD_STEP
from longmab_pl.evaluation.ruler.common_words import CommonWords, word_count
from longmab_pl.evaluation.ruler.example import Draws, Example
from longmab_pl.evaluation.ruler.frequent_words import frequent_example
from longmab_pl.evaluation.ruler.needles import NeedleForm, NeedleMaterial, Needles
from longmab_pl.evaluation.ruler.questions import DocumentQuestions, QuestionSet
from longmab_pl.evaluation.ruler.sizing import filling_size, fitting_example, search_size
from longmab_pl.evaluation.ruler.variable_tracking import TrackingText, VariableTracking, worked_example
from longmab_pl.evaluation.ruler.wording import Wording

NEEDLE_FORMS = {
    "niah_single_1": NeedleForm("noise"),
    "niah_single_2": NeedleForm("essay"),
    "niah_single_3": NeedleForm("essay", value="uuids"),
    "niah_multikey_1": NeedleForm("essay", keys=4),
    "niah_multikey_2": NeedleForm("needle"),
    "niah_multikey_3": NeedleForm("needle", key="uuids", value="uuids"),
    "niah_multivalue": NeedleForm("essay", values=4),
    "niah_multiquery": NeedleForm("essay", queries=4),
}

NEW_TOKENS = {**dict.fromkeys(NEEDLE_FORMS, 128), "vt": 30, "cwe": 120, "fwe": 50, "qa_1": 32, "qa_2": 32}
"""Official limits of an answer, in tokens; the tasks in the paper's order."""

TASKS = tuple(NEW_TOKENS)

DOCUMENT_STEP = 10
"""Step in documents by which the original's sizes are reduced."""


def score_of(task: str) -> Callable[[str, Sequence[str]], float]:
    """Return the function that scores a task's predictions officially."""
    return scoring.any_found if task.startswith("qa_") else scoring.all_found


@dataclass(frozen=True)
class Material:
    """The texts that examples are made of.

    Args:
        essay: the running text.
        questions: question sets of `qa_1` and `qa_2`.
        wording: instructions, needle, noise and word lists.
    """

    essay: texts.Essay
    questions: dict[str, QuestionSet]
    wording: Wording = field(default_factory=Wording)


@dataclass(frozen=True)
class Budget:
    """The tokens that an example may take.

    Args:
        length: tokens of prompt and answer.
        new_tokens: tokens of the answer.
        count: tokens of an example's prompt.
        official: sizes by the original's search and steps, which leave up to half of a short length empty.
    """

    length: int
    new_tokens: int
    count: Callable[[Example], int]
    official: bool = False

    def taken(self, example: Example) -> int:
        """Return the tokens of an example with its answer."""
        return self.count(example) + self.new_tokens

    @property
    def slack(self) -> int:
        """Number of tokens that may stay free."""
        return self.length // 200

    def step(self, official: int, size: int) -> int:
        """Return the step by which a size is reduced: the official one, or one that suits the size."""
        return official if self.official else max(1, size // 200)


def examples(task: str, budget: Budget, samples: int, material: Material, seed: int) -> list[tuple[Example, int]]:
    """Return examples of a task with their tokens, answer included.

    Args:
        task: one of `TASKS`.
        budget: tokens that each example must fit.
        samples: number of examples; QA tasks have at most one for each question.
        material: texts to draw from.
        seed: seed of all random numbers; the same for every task and length in the original.

    Raises:
        ConfigError: the length has no room for the task.
    """
    draws, words = Draws(seed), material.wording
    if task in NEEDLE_FORMS:
        needles = NeedleMaterial(words.keys, words.needle, words.noise, material.essay)
        make = Needles(NEEDLE_FORMS[task], words.niah, needles, draws)
        return _fitting(make, budget, samples, make.step(budget.length))
    if task == "vt":
        return _tracking(budget, samples, words, draws)
    if task == "cwe":
        return _common(budget, samples, words, draws)
    if task == "fwe":
        return _frequent(budget, samples, words, draws)
    return _questions(material.questions[task], budget, samples, words, draws)


def _fitting(
    make: Needles | VariableTracking,
    budget: Budget,
    samples: int,
    official_step: int,
    finished: Callable[[Example], Example] | None = None,
    beside: int = 0,
) -> list[tuple[Example, int]]:
    least = official_step if budget.official else make.least
    if budget.official:
        size = search_size(make, budget.taken, budget.length, least, beside=budget.new_tokens + beside)
    else:
        size = filling_size(make, budget.taken, budget.length, least, budget.slack)
    step = budget.step(official_step, size)
    return [
        fitting_example(make, budget.taken, size, budget.length, step, finished, least=least) for _ in range(samples)
    ]


def _tracking(budget: Budget, samples: int, words: Wording, draws: Draws) -> list[tuple[Example, int]]:
    text = TrackingText(words.noise)
    bare = VariableTracking(words.vt, text, draws, in_example=True)
    try:
        worked = worked_example(bare, budget.count, min(500, budget.length // 3))
    except ConfigError:  # a short length has no room for it
        worked = ""
    make = VariableTracking(words.vt, text, draws, worked=worked)
    beside = budget.count(Example(worked, "", ()))
    return _fitting(make, budget, samples, make.step(budget.length), make.finished, beside)


def _common(budget: Budget, samples: int, words: Wording, draws: Draws) -> list[tuple[Example, int]]:
    short = budget.length < 4096
    make = CommonWords(words.cwe, words.common, words.many, draws, short=short)
    if budget.official:
        size = word_count(make, budget.taken, budget.length, budget.new_tokens)
    else:
        size = filling_size(make, budget.taken, budget.length, WORD_STEP, budget.slack, make.most)
    step = budget.step(WORD_STEP, size)
    return [fitting_example(make, budget.taken, size, budget.length, step, least=WORD_STEP) for _ in range(samples)]


def _frequent(budget: Budget, samples: int, words: Wording, draws: Draws) -> list[tuple[Example, int]]:
    limit = budget.length - budget.new_tokens
    size: int | None = None
    made = []
    for number in range(-1, samples):  # the first finds the size
        example, taken, size = frequent_example(
            words.fwe,
            draws,
            budget.count,
            limit,
            size=size,
            step=max(1, limit // 32),
            vocabulary=max(4, limit // 50),
        )
        if number >= 0:
            made.append((example, taken + budget.new_tokens))
    return made


def _questions(
    data: QuestionSet, budget: Budget, samples: int, words: Wording, draws: Draws
) -> list[tuple[Example, int]]:
    make = DocumentQuestions(words.qa, words.document, data, draws)
    asked = data.questions[:samples]
    least = DOCUMENT_STEP if budget.official else max(len(question.gold) for question in asked)
    if budget.official:
        size = search_size(make.of(0), budget.taken, budget.length, least, beside=budget.new_tokens)
    else:
        size = filling_size(make.of(0), budget.taken, budget.length, least, budget.slack)
    step = budget.step(DOCUMENT_STEP, size)
    return [
        fitting_example(make.of(i), budget.taken, size, budget.length, step, least=least) for i in range(len(asked))
    ]
