"""RULER's common words: a numbered list in which a few words occur more often than the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longmab_pl.evaluation.ruler.example import Count, Draws, Example, Template
from longmab_pl.evaluation.ruler.sizing import binary_search


@dataclass(frozen=True)
class Frequencies:
    """Numbers of repetitions of the words in a list.

    Args:
        common: repetitions of a common word.
        uncommon: repetitions of any other word.
        words: number of common words.
    """

    common: int = 30
    uncommon: int = 3
    words: int = 10


class CommonWords:
    """A generator of the task after worked examples (`Generator`); the size counts different words.

    Args:
        template: template with `{context}`; the words of a question are the same in the worked example.
        words: the list to draw from if it is long enough.
        more_words: a longer list for larger sizes.
        draws: random numbers.
        frequencies: frequencies of the question's words.
        worked: number of worked examples.
        short: use the small example and frequencies of lengths under 4,096 tokens.
    """

    def __init__(
        self,
        template: Template,
        words: Sequence[str],
        more_words: Sequence[str],
        draws: Draws,
        *,
        frequencies: Frequencies | None = None,
        worked: int = 1,
        short: bool = False,
    ) -> None:
        self.template = template
        self.words = sorted(set(words))
        self.more_words = list(more_words)
        self.draws = draws
        draws.shuffle(self.words)
        asked = frequencies or Frequencies()
        self.question = Frequencies(6, 1, asked.words) if short else asked
        self.shown = Frequencies(3, 1, asked.words) if short else Frequencies(10, 3, asked.words)
        self.worked = worked
        self.worked_size = 20 if short else 40

    def __call__(self, size: int) -> Example:
        worked = "".join(self._worked() for _ in range(self.worked))
        listed, answers = self.listing(size, self.question)
        question = self.template.fill(tuple(answers), context=listed, query="")
        return Example(worked + question.text, question.prefix, question.answers)

    def _worked(self) -> str:
        listed, answers = self.listing(self.worked_size, self.shown)
        example = self.template.fill(tuple(answers), context=listed, query="")
        return f"{example.whole} {_numbered(answers)}\n"

    @property
    def most(self) -> int:
        """The largest size: the number of all words."""
        return max(len(self.words), len(self.more_words))

    def listing(self, size: int, frequencies: Frequencies) -> tuple[str, list[str]]:
        """Return a numbered list of `size` different words, each repeated, and the common ones."""
        pool = self.words if size <= len(self.words) else self.more_words
        drawn = self.draws.random.sample(pool, size)
        common, rest = drawn[: frequencies.words], drawn[frequencies.words :]
        repeated = common * frequencies.common + rest * frequencies.uncommon
        self.draws.shuffle(repeated)
        return _numbered(repeated), common


STEP = 10
"""Step in words by which the size is searched and reduced."""

_ESTIMATE = 4096  # words


def word_count(make: CommonWords, count: Count, limit: int, beside: int) -> int:
    """Return the size for all examples, by a binary search up to twice the estimate from a list of 4,096 words.

    Args:
        make: generator of an example of a size.
        count: tokens of an example with its answer.
        limit: available tokens.
        beside: the answer's part of the counted tokens.
    """
    per_word = (count(make(_ESTIMATE)) - beside) / _ESTIMATE
    return binary_search(make, count, limit, STEP, min(int(limit // per_word) * 2, make.most))


def _numbered(words: Sequence[str]) -> str:
    return " ".join(f"{number}. {word}" for number, word in enumerate(words, 1))
