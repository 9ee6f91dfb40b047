"""Similarity of a record's responses: by their stated answers, or by their words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from longmab_pl.rewards.answer_match import extract_answer, normalize_answer


class Similarity:
    """Whether two of a record's responses say the same.

    Args:
        texts: the responses.
        limit: texts are similar if their normalized words overlap by more than this (F1 of the words in [0, 1], in any
            order); at 1 only texts of the same words are similar.
        by_answer: compare stated answers where both responses state one, and words only elsewhere.

    Example:
        >>> same = Similarity(["I think so. Answer: Lima", "Answer: lima", "Answer: Quito"], 1.0, by_answer=True)
        >>> same(0, 1), same(1, 2)
        (True, False)
    """

    def __init__(self, texts: Sequence[str], limit: float, *, by_answer: bool) -> None:
        self._known: dict[tuple[int, int], bool] = {}
        self._limit = limit
        self._words = [Counter(normalize_answer(text).split()) for text in texts]
        stated = [extract_answer(text) if by_answer else None for text in texts]
        self._answers = [None if answer is None else normalize_answer(answer) for answer in stated]

    def __call__(self, i: int, j: int) -> bool:
        """Return whether responses `i` and `j` are similar."""
        pair = min(i, j), max(i, j)
        if pair not in self._known:
            self._known[pair] = self._compare(*pair)
        return self._known[pair]

    def _compare(self, i: int, j: int) -> bool:
        if i == j:
            return True
        if self._answers[i] is not None and self._answers[j] is not None:
            return self._answers[i] == self._answers[j]
        a, b = self._words[i], self._words[j]
        return a == b or 2 * (a & b).total() > self._limit * (a.total() + b.total())
