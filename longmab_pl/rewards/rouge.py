"""ROUGE-L of a text against references, by the longest common subsequence of the whole text or of lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longmab_pl.rewards.porter_stemmer import stem

_NOT_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Rouge:
    """Overlap of a prediction with a reference; all values are in [0, 1]."""

    precision: float
    recall: float
    f1: float


def plain_words(text: str) -> list[str]:
    """Return the words of a text: runs of ASCII letters and digits, in lower case."""
    return _NOT_WORD.sub(" ", text.lower()).split()


def rouge_words(text: str) -> list[str]:
    """Return the words that ROUGE compares: lower-case ASCII letters and digits, stemmed if over three characters."""
    return [stem(word) if len(word) > 3 else word for word in plain_words(text)]


def rouge_l(prediction: str, reference: str) -> Rouge:
    """Return ROUGE-L: the longest common subsequence of stemmed words, line breaks ignored.

    Words are runs of ASCII letters and digits in lower case; those of more than three characters are stemmed.

    Example:
        >>> rouge_l("the cat sat", "the cats sat down").f1
        0.8571428571428571

    Source: C.-Y. Lin, "ROUGE", 2004, section 3; equal to the package rouge_score with stemming.
    """
    ours, theirs = rouge_words(prediction), rouge_words(reference)
    return _rouge(len(_common(theirs, ours)), len(ours), len(theirs))


def rouge_l_sum(prediction: str, reference: str, words: Callable[[str], list[str]] = rouge_words) -> Rouge:
    """Return ROUGE-Lsum: each line of the reference against all lines of the prediction, each word counted once.

    Args:
        prediction, reference: texts whose lines are sentences.
        words: function that splits a line into words; `plain_words` does not stem.

    Example:
        >>> rouge_l_sum("Lyon\\nParis", "Paris").f1
        0.6666666666666666

    Source: C.-Y. Lin, "ROUGE", 2004, section 3.2, with the clipped counts of the package rouge_score.
    """
    ours = [words(line) for line in prediction.split("\n") if line]
    theirs = [words(line) for line in reference.split("\n") if line]
    left = Counter(word for line in ours for word in line)
    hits = 0
    # Each position of the reference is visited once, so a word counts at most as often as it occurs there.
    for line in theirs:
        for place in sorted({place for other in ours for place in _common(line, other)}):
            if left[line[place]] > 0:
                left[line[place]] -= 1
                hits += 1
    return _rouge(hits, sum(map(len, ours)), sum(map(len, theirs)))


def best_rouge_l_sum(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Return the best ROUGE-Lsum F1 of any prediction against any reference; 0 if either is empty."""
    return max((rouge_l_sum(p, r).f1 for p in predictions for r in references), default=0.0)


def _rouge(hits: int, predicted: int, expected: int) -> Rouge:
    if hits == 0:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = hits / predicted, hits / expected
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))


def _common(reference: list[str], prediction: list[str]) -> list[int]:
    """Return positions in the reference of a longest common subsequence, ascending."""
    # lengths[i][j]: length for the first i words of the reference and the first j of the prediction.
    lengths = [[0] * (len(prediction) + 1) for _ in range(len(reference) + 1)]
    for i, word in enumerate(reference, 1):
        above, row = lengths[i - 1], lengths[i]
        for j, other in enumerate(prediction, 1):
            row[j] = above[j - 1] + 1 if word == other else max(above[j], row[j - 1])
    places = []
    i, j = len(reference), len(prediction)
    while i > 0 and j > 0:
        if reference[i - 1] == prediction[j - 1]:
            places.append(i - 1)
            i, j = i - 1, j - 1
        elif lengths[i][j - 1] > lengths[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places[::-1]
