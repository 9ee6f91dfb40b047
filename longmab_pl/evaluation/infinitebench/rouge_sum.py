"""ROUGE-Lsum as the package `rouge_score` computes it without a stemmer: union LCS over lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence


def rouge_l_sum(reference: str, prediction: str) -> float:
    """Return the F measure of ROUGE-Lsum; the lines of both texts are their sentences.

    Source: Lin (2004), section 3.2, with the counting of `rouge_score` 0.1.2: a token of the union counts once for
    each time that both texts have it.
    """
    golds, lines = _sentences(reference), _sentences(prediction)
    gold_count, line_count = sum(map(len, golds)), sum(map(len, lines))
    if not gold_count or not line_count:
        return 0.0
    left_gold = Counter(token for sentence in golds for token in sentence)
    left_line = Counter(token for sentence in lines for token in sentence)
    hits = 0
    for gold in golds:
        union = sorted({place for line in lines for place in _common_places(gold, line)})
        for place in union:
            token = gold[place]
            if left_gold[token] > 0 and left_line[token] > 0:
                hits += 1
                left_gold[token] -= 1
                left_line[token] -= 1
    precision, recall = hits / line_count, hits / gold_count
    return 2 * precision * recall / (precision + recall) if hits else 0.0


def _sentences(text: str) -> list[list[str]]:
    return [re.findall(r"[a-z0-9]+", line.lower()) for line in text.split("\n") if line]


def _common_places(gold: Sequence[str], line: Sequence[str]) -> list[int]:
    """Places in `gold` of one longest common subsequence."""
    rows = [[0] * (len(line) + 1) for _ in range(len(gold) + 1)]
    for i, first in enumerate(gold, 1):
        for j, second in enumerate(line, 1):
            rows[i][j] = rows[i - 1][j - 1] + 1 if first == second else max(rows[i - 1][j], rows[i][j - 1])
    places, i, j = [], len(gold), len(line)
    while i and j:
        if gold[i - 1] == line[j - 1]:
            places.append(i - 1)
            i, j = i - 1, j - 1
        elif rows[i][j - 1] > rows[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places[::-1]
