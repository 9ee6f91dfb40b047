"""Answer extraction, SQuAD-style matching and the two rewards of LongMab-PO, all in [0, 1].

Functions with a `style` read and compare answers as the paper's code does (`paper`), or by `lenient_match`.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from longmab_pl.checks import one_of
from longmab_pl.data.no_answer import says_no_answer
from longmab_pl.data.numbering import without_names
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.errors import DataError
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.base import RewardContext, Score
from longmab_pl.rewards.lenient_match import contains_words, extract_lenient, normalize_lenient

AnswerStyle = Literal["paper", "lenient"]
ANSWER_STYLES: tuple[AnswerStyle, ...] = ("paper", "lenient")

# Tried in this order: an earlier prefix wins even if a later one occurs further on in the text.
ANSWER_PREFIXES = ("answer:", "the answer is:", "final answer is:")

ROUNDING = 1e-9
"""Tolerance when differences of rewards are compared with a margin: 0.7 - 0.2 < 0.5 in floating point."""

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class AnswerMatch:
    """Compares the answer that a response states with the gold answers: LongMab-PO's two rewards, sections 3.2 and 3.3.

    The value is `pair_reward`. The part `rollout` is `rollout_reward`, from which the bandit learns. The part
    `in_format` is 1 if the response states an answer, else 0. Passages that a response names (`[3]`) are no words of it
    where the prompt numbers them. Where the text holds no answer (`answerable: false`), value and `rollout` are 1 for
    an answer that says so and nothing else ("not stated"), else 0. It sends no requests to an engine.

    Args:
        style: `paper` reads and compares answers as the paper's code does; `lenient` reads more spellings of "Answer:"
            and compares words: "no" is not in "November", "two" is "2".

    Example:
        >>> reward = AnswerMatch()
        >>> rollout_reward("They met there. Answer: Lima", ["Lima"])  # its value for a response
        1.0
    """

    style: AnswerStyle = "paper"
    name: ClassVar[str] = "answer_match"
    engines: ClassVar[tuple[str, ...]] = ()
    needs_embedder: ClassVar[bool] = False

    def __post_init__(self) -> None:
        one_of("style of AnswerMatch", self.style, ANSWER_STYLES)

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        yield from ()  # a generator without requests
        if not record.answers:
            return [Score(0.0, excluded="no gold answer to compare with") for _ in responses]
        if record.passages:
            responses = [without_names(text) for text in responses]
        if not record.answerable:
            return [self._of_no_answer(text) for text in responses]
        return [
            Score(
                pair_reward(text, record.answers, self.style),
                {
                    "rollout": rollout_reward(text, record.answers, self.style),
                    "in_format": float(extract_answer(text, self.style) is not None),
                },
            )
            for text in responses
        ]

    def _of_no_answer(self, text: str) -> Score:
        """Return the score of a response to a question that its text does not answer."""
        answer = extract_answer(text, self.style)
        right = float(answer is not None and says_no_answer(answer, _STYLES[self.style].normalize))
        return Score(right, {"rollout": right, "in_format": float(answer is not None)})


def extract_answer(text: str, style: AnswerStyle = "paper") -> str | None:
    """Return the answer that a response states, lower-cased and stripped, or None if it states none.

    A thought before it (`<think>...</think>`) is ignored.

    In the paper's style the answer follows the last occurrence of the first of `ANSWER_PREFIXES` that occurs at all. As
    in the original, a response that ends directly after that prefix states no answer, and one with only white space
    after it states an empty answer. For the lenient style see `lenient_match.extract_lenient`.

    Source: LongMab-PO, `extract_answer` of the rollout, the pair construction and the evaluation.
    """
    return _STYLES[style].extract(text)


def _extract_as_paper(text: str) -> str | None:
    # Positions are found in the lower-cased text, because lower() changes lengths ('İ' becomes two characters).
    lowered = without_thought(text).lower()
    for prefix in ANSWER_PREFIXES:
        found = lowered.rfind(prefix)
        if found >= 0:
            tail = lowered[found + len(prefix) :]
            return tail.strip() if tail else None
    return None


def normalize_answer(text: str) -> str:
    """Return the SQuAD/DrQA normal form: lower case, no ASCII punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DROP_PUNCTUATION)).split())


def token_f1(prediction: str, gold: str) -> float:
    """Return the F1 of the multisets of normalized, space-separated tokens; 0 if they share none."""
    return _f1(normalize_answer(prediction).split(), normalize_answer(gold).split())


def rollout_reward(text: str, answers: str | Sequence[str], style: AnswerStyle = "paper") -> float:
    """Return the reward of a rollout response: (SubEM of the whole response + F1 of the extracted answer) / 2.

    Args:
        text: the whole response.
        answers: one gold answer or several, of which the best match counts.
        style: how answers are read and compared.

    Raises:
        DataError: `answers` is neither a string nor strings.

    Source: LongMab-PO, section 3.3 of the paper; the bandit learns from it.
    """
    matching, golds = _STYLES[style], _golds(answers)
    extracted = matching.extract(text)
    f1 = 0.0 if extracted is None else matching.f1(extracted, golds)
    return (matching.sub_em(without_thought(text), golds) + f1) / 2


def pair_reward(text: str, answers: str | Sequence[str], style: AnswerStyle = "paper") -> float:
    """Return the reward that pairs compare: (SubEM + F1) / 2 of the extracted answer, 0 without one.

    Arguments and errors as for `rollout_reward`, which takes SubEM over the whole response instead.
    """
    scores = answer_scores(text, answers, style)
    return (scores["subem"] + scores["f1"]) / 2


def answer_scores(text: str, answers: str | Sequence[str], style: AnswerStyle = "paper") -> dict[str, float]:
    """Return the evaluation scores `em`, `f1` and `subem` of the extracted answer, each the best over the golds.

    All are 0 without an answer.

    In the paper's style a gold that normalizes to an empty text is a substring of everything (`subem` 1), as in the
    original evaluator.

    Raises:
        DataError: `answers` is neither a string nor strings.
    """
    matching, golds = _STYLES[style], _golds(answers)
    extracted = matching.extract(text)
    if extracted is None:
        return {"em": 0.0, "f1": 0.0, "subem": 0.0}
    normal = matching.normalize(extracted)
    return {
        "em": float(any(normal == matching.normalize(gold) for gold in golds)),
        "f1": matching.f1(extracted, golds),
        "subem": matching.sub_em(extracted, golds),
    }


def substring_match(text: str, answers: str | Sequence[str]) -> bool:
    """Return whether a gold answer's normal form occurs in the text's (SubEM); False without gold answers.

    Example:
        >>> substring_match("They met in the U.S. in 1990.", ["US"])
        True
    """
    return bool(_STYLES["paper"].sub_em(text, _golds(answers)))


def _golds(answers: str | Sequence[str]) -> list[str]:
    golds = [answers] if isinstance(answers, str) else list(answers)
    for gold in golds:
        if not isinstance(gold, str):
            raise DataError(f"a gold answer is {gold!r} ({type(gold).__name__}); give a string or a list of strings")
    return golds


def _f1(prediction: list[str], gold: list[str]) -> float:
    shared = sum((Counter(prediction) & Counter(gold)).values())
    if shared == 0:
        return 0.0
    # Written as precision and recall, not as 2 * shared / total: the last bit then agrees with the original's.
    precision, recall = shared / len(prediction), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class _Style:
    """How answers are found in texts and compared; `contains` takes normal forms (text, gold)."""

    extract: Callable[[str], str | None]
    normalize: Callable[[str], str]
    contains: Callable[[str, str], bool]

    def sub_em(self, text: str, golds: list[str]) -> float:
        normal = self.normalize(text)
        return float(any(self.contains(normal, self.normalize(gold)) for gold in golds))

    def f1(self, prediction: str, golds: list[str]) -> float:
        tokens = self.normalize(prediction).split()
        return max((_f1(tokens, self.normalize(gold).split()) for gold in golds), default=0.0)


_STYLES: dict[AnswerStyle, _Style] = {
    "paper": _Style(_extract_as_paper, normalize_answer, str.__contains__),
    "lenient": _Style(extract_lenient, normalize_lenient, contains_words),
}
