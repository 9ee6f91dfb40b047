"""English numbers in words, as digits."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_ONES = {word: value for value, word in enumerate(_WORDS.split())}
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * value for value, word in enumerate(_TENS_WORDS.split(), start=2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_DIGITS = re.compile(r"\d{1,18}(?:\.\d{1,6})?")


def digits_for_words(words: Sequence[str]) -> list[str]:
    """Return the words with every number as digits, without a fraction of zeros.

    Args:
        words: lower-case words; a number in words is several of them (`twenty`, `one`).

    Example:
        >>> digits_for_words("two hundred and six rooms".split()), digits_for_words("2.5 million".split())
        (['206', 'rooms'], ['2500000'])
    """
    found: list[str] = []
    at = 0
    while at < len(words):
        end, number = _number(words, at)
        found.append(words[at] if number is None else number)
        at = max(end, at + 1)
    return found


def _number(words: Sequence[str], start: int) -> tuple[int, str | None]:
    """Return where the number that begins at `start` ends, and its digits; None if there is none.

    A number is groups of decreasing scale (`three million`, `two hundred thousand`, `five`).
    """
    total, scale, at = 0, 10**18, start
    while True:
        end, group = _group(words, at + (at > start and at < len(words) and words[at] == "and"))
        if group is None:
            break
        factor = 1
        if end < len(words) and _SCALES.get(words[end], 1) >= 1000:
            factor = _SCALES[words[end]]
            end += 1
        if factor >= scale or (at > start and group >= scale):
            break
        total, scale, at = total + group * factor, factor, end
        if factor == 1:
            break
    if at > start:
        return at, str(total)
    written = words[start]
    if not _DIGITS.fullmatch(written):
        return start, None
    factor = _SCALES.get(words[start + 1], 1) if start + 1 < len(words) else 1
    return start + 1 + (factor > 1), _times(written, factor)


def _group(words: Sequence[str], start: int) -> tuple[int, int | None]:
    """Return where a number below a thousand that begins at `start` ends, and its value; None if there is none.

    A scale without a number before it is one of it (`hundred`, `million`): the article is gone.
    """
    end, value = _below_hundred(words, start)
    if end < len(words) and words[end] == "hundred" and (value is None or 0 < value < 100):
        value, end = 100 * (1 if value is None else value), end + 1
        further, rest = _below_hundred(words, end + (end < len(words) and words[end] == "and"))
        return (end, value) if rest is None else (further, value + rest)
    if value is None and end < len(words) and _SCALES.get(words[end], 1) >= 1000:
        return end, 1
    return end, value


def _below_hundred(words: Sequence[str], start: int) -> tuple[int, int | None]:
    word = words[start] if start < len(words) else ""
    if word in _ONES:
        return start + 1, _ONES[word]
    if word in _TENS:
        ones = _ONES.get(words[start + 1], 0) if start + 1 < len(words) else 0
        return (start + 2, _TENS[word] + ones) if 0 < ones < 10 else (start + 1, _TENS[word])
    return start, None


def _times(written: str, factor: int) -> str:
    whole, _, fraction = written.partition(".")
    value = int(whole + fraction) * factor
    whole, fraction = str(value // 10 ** len(fraction)), str(value % 10 ** len(fraction)).zfill(len(fraction))
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole
