"""RULER's frequent words: a text of made-up words whose counts fall off as a zeta distribution."""

from __future__ import annotations

from scipy.special import zeta

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler.example import Count, Draws, Example, Template

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class FrequentWords:
    """A generator of the task for one vocabulary (`Generator`); the size is the largest sum of the words' counts.

    Args:
        template: template with `{context}`.
        draws: random numbers; each generator draws its own vocabulary.
        vocabulary: number of different words.
        alpha: exponent of the distribution, above 1.
        letters: length of a word in letters.
        top: number of words that are asked for.
    """

    def __init__(
        self, template: Template, draws: Draws, *, vocabulary: int, alpha: float = 2.0, letters: int = 6, top: int = 3
    ) -> None:
        self.template = template
        self.draws = draws
        self.top = top
        drawn = ["".join(draws.random.choices(_LETTERS, k=letters)) for _ in range(vocabulary)]
        while len(set(drawn)) < vocabulary:
            drawn.append("".join(draws.random.choices(_LETTERS, k=letters)))
        self.words = sorted(set(drawn))
        draws.shuffle(self.words)
        self.words[0] = "..."  # the commonest word is noise and is not asked for
        total = float(zeta(alpha))
        self.shares = [rank**-alpha / total for rank in range(1, vocabulary + 1)]

    def __call__(self, size: int) -> Example:
        counts = [int(size * share) for share in self.shares]
        text = [word for word, count in zip(self.words, counts, strict=True) for _ in range(count)]
        self.draws.shuffle(text)
        return self.template.fill(tuple(self.words[1 : self.top + 1]), context=" ".join(text), query="")


def frequent_example(
    template: Template,
    draws: Draws,
    count: Count,
    limit: int,
    *,
    size: int | None,
    step: int,
    vocabulary: int,
    alpha: float = 2.0,
    letters: int = 6,
) -> tuple[Example, int, int]:
    """Return an example with a new vocabulary, its tokens, and the size that it was made with.

    Args:
        template: template with `{context}`.
        draws: random numbers.
        count: tokens of an example.
        limit: available tokens.
        size: first size to try; None: the last size below the first one whose text reaches the limit.
        step: distance between sizes.
        vocabulary, alpha, letters: as in `FrequentWords`.

    Raises:
        ConfigError: not even one step fits.
    """
    make = FrequentWords(template, draws, vocabulary=vocabulary, alpha=alpha, letters=letters)
    if size is None:
        size = limit // letters
        while count(make(size)) < limit:
            size += step
        size -= step
    while (taken := count(example := make(size))) > limit:
        if size <= step:
            raise ConfigError(f"a RULER example of the smallest size takes {taken} tokens and {limit} are there")
        size -= step
    return example, taken, size
