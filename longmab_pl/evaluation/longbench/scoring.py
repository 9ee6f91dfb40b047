"""Pure scoring functions of LongBench v1: one prediction against one gold answer gives a number in 0..1.

Source: LongBench (Bai et al. 2024, arXiv 2308.14508), the metrics of its official scorer, quirks included, because
the published numbers contain them. Each quirk is named where it is reproduced.
"""

from __future__ import annotations

import importlib
import logging
import re
import string
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.rewards.answer_match import token_f1

# The official set. It has the closing 》 but not the opening 《: parity, not a slip of ours.
CHINESE_PUNCTUATION = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」"
    "『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏."
)
_ZH_DELETED = str.maketrans("", "", string.punctuation + CHINESE_PUNCTUATION)


def f1(prediction: str, answer: str) -> float:
    """Return the bag-of-words F1 of two texts, without case, ASCII punctuation, articles and extra space."""
    return token_f1(prediction, answer)


def f1_zh(prediction: str, answer: str) -> float:
    """Return the F1 over jieba's precise-mode words, each normalized (`normalize_zh`), empty ones dropped."""
    return _token_f1(*([w for w in map(normalize_zh, _words_zh(text)) if w] for text in (prediction, answer)))


def normalize_zh(text: str) -> str:
    """Return a text in lower case without ASCII and Chinese punctuation and white space."""
    return "".join(text.lower().translate(_ZH_DELETED).split())


def rouge_l(prediction: str, answer: str) -> float:
    """Return ROUGE-L F of the `rouge` package (word *sets* and union LCS; not the sequence ROUGE-L of other packages).

    Texts for which that package raises score 0, as in the official scorer: an empty text, and also a pair of sentences
    so long (about 1,000 words) that the package exceeds Python's recursion limit. The call runs on a fresh stack (a
    thread), so that this limit, and with it the score, does not depend on how deep the caller is.
    """
    scorer = _rouge()
    found: list[float] = []

    def run() -> None:
        try:
            found.append(scorer.get_scores([prediction], [answer], avg=True)["rouge-l"]["f"])
        except (ValueError, AssertionError, RecursionError):
            found.append(0.0)

    thread = threading.Thread(target=run, name="rouge-l")
    thread.start()
    thread.join()
    return float(found[0])


def rouge_l_zh(prediction: str, answer: str) -> float:
    """Return `rouge_l` of the two texts after jieba has put spaces between the words."""
    return rouge_l(" ".join(_words_zh(prediction)), " ".join(_words_zh(answer)))


def classification(prediction: str, answer: str, all_classes: Sequence[str], *, fixed: bool = False) -> float:
    """Return 1/|M| if the gold class is in M, else 0; M is the classes that occur in the prediction (case-sensitive).

    From M the official scorer removes classes that are proper substrings of the gold label, but it removes from the
    list it iterates over and so skips the neighbor of each removed entry. That is the default here, since published
    numbers have it; `fixed=True` removes them all.
    """
    matched = [name for name in all_classes if name in prediction]
    if fixed:
        matched = [name for name in matched if name == answer or name not in answer]
    else:
        position = 0  # the same as iterating over a list while removing from it
        while position < len(matched):
            name = matched[position]
            if name in answer and name != answer:
                matched.remove(name)  # the first equal entry, which a repeated class can make an earlier one
            position += 1
    return 1.0 / len(matched) if answer in matched else 0.0


def count(prediction: str, answer: str) -> float:
    """Return the share of the prediction's digit runs that equal the gold number's string; 0 without digits."""
    numbers = re.findall(r"\d+", prediction)
    return sum(number == answer for number in numbers) / len(numbers) if numbers else 0.0


def retrieval(prediction: str, answer: str) -> float:
    """Return `count` for the id in a gold answer of the form "Paragraph 7". Raises `DataError` for another form."""
    return count(prediction, _paragraph_id(answer, "Paragraph "))


def retrieval_zh(prediction: str, answer: str) -> float:
    """Return `count` for the id in a gold answer of the form "段落7". Raises `DataError` for another form."""
    return count(prediction, _paragraph_id(answer, "段落"))


def edit_similarity(prediction: str, answer: str) -> float:
    """Return the similarity of the prediction's first code line and the gold line, in steps of 0.01 (0..1).

    The code line is the first that holds no backtick, "#" or "//" ("" if none). The official scorer calls
    `fuzzywuzzy.fuzz.ratio`, whose value depends on whether python-Levenshtein happens to be installed. This is that
    function with difflib (its behavior without python-Levenshtein), so the number is the same on every machine.
    """
    lines = prediction.lstrip("\n").split("\n")
    line = next((line for line in lines if "`" not in line and "#" not in line and "//" not in line), "")
    if line == answer:
        return 1.0
    if not line or not answer:
        return 0.0
    return round(100 * SequenceMatcher(None, line, answer).ratio()) / 100


def first_line(prediction: str) -> str:
    """Return the text up to the first newline, leading newlines stripped (post-processing of few-shot tasks)."""
    return prediction.lstrip("\n").split("\n")[0]


SCORERS: dict[str, Callable[..., float]] = {
    "f1": f1,
    "f1_zh": f1_zh,
    "rouge_l": rouge_l,
    "rouge_l_zh": rouge_l_zh,
    "classification": classification,
    "retrieval": retrieval,
    "retrieval_zh": retrieval_zh,
    "count": count,
    "edit_similarity": edit_similarity,
}
"""The LongBench metrics by the name that the task table uses."""


def best_score(
    metric: str,
    prediction: str,
    answers: Sequence[str],
    all_classes: Sequence[str] | None = None,
    *,
    fixed: bool = False,
) -> float:
    """Return the best score (0..1) of the prediction over the gold answers.

    Args:
        metric: a key of `SCORERS`.
        prediction: the model's text, post-processed.
        answers: gold answers; none gives 0, as in the official scorer.
        all_classes: the labels of a classification task.
        fixed: use the variant of classification without the list-mutation bug.

    Raises:
        ConfigError: an unknown metric, or classification without `all_classes`.
        DataError: a gold answer that the metric cannot read.
    """
    if metric not in SCORERS:
        raise ConfigError(f"unknown metric {metric!r}; use one of {', '.join(SCORERS)}")
    scorer = SCORERS[metric]
    if metric == "classification":
        if all_classes is None:
            raise ConfigError("the classification metric needs all_classes, the list of the task's labels")
        return max((scorer(prediction, answer, all_classes, fixed=fixed) for answer in answers), default=0.0)
    return max((scorer(prediction, answer) for answer in answers), default=0.0)


def _token_f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    overlap = sum((Counter(prediction) & Counter(answer)).values())
    if overlap == 0:
        return 0.0
    precision, recall = overlap / len(prediction), overlap / len(answer)
    return (2 * precision * recall) / (precision + recall)


def _paragraph_id(answer: str, prefix: str) -> str:
    match = re.search(prefix + r"(\d+)", answer)
    if match is None:
        raise DataError(f"the gold answer of a retrieval task is {answer!r}; it must contain {prefix!r} and a number")
    return match.group(1)


def _words_zh(text: str) -> list[str]:
    return list(_jieba().cut(text, cut_all=False))


@lru_cache(maxsize=1)
def _jieba() -> Any:
    jieba = _longbench_library("jieba")
    jieba.setLogLevel(logging.WARNING)  # it announces at INFO-like level that it builds its dictionary
    jieba.initialize()
    return jieba


@lru_cache(maxsize=1)
def _rouge() -> Any:
    return _longbench_library("rouge").Rouge(metrics=["rouge-l"])


def _longbench_library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"this LongBench metric needs the package {name!r}; install it with: pip install 'longmab-pl[longbench]'"
        ) from error
