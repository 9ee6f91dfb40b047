"""The Porter stemmer with the extensions of NLTK, which ROUGE's published numbers use.

Source: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980; the extensions as NLTK documents them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

_IRREGULAR = {
    "skies": "sky",
    "sky": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}

_DOUBLE_SUFFIXES = {
    "ational": "ate",
    "tional": "tion",
    "enci": "ence",
    "anci": "ance",
    "izer": "ize",
    "bli": "ble",
    "alli": "al",
    "entli": "ent",
    "eli": "e",
    "ousli": "ous",
    "ization": "ize",
    "ation": "ate",
    "ator": "ate",
    "alism": "al",
    "iveness": "ive",
    "fulness": "ful",
    "ousness": "ous",
    "aliti": "al",
    "iviti": "ive",
    "biliti": "ble",
    "fulli": "ful",
}

Rule = tuple[str, str, Callable[[str], bool]]
"""A suffix, its replacement, and the condition on the stem before it."""


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """Return the stem of a word in lower case.

    Example:
        >>> stem("relational"), stem("running"), stem("dying")
        ('relat', 'run', 'die')
    """
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (_plural, _past, _final_y, _double_suffix, _suffix_of_adjective, _long_suffix, _final_e, _final_ll):
        word = step(word)
    return word


def _consonants(word: str) -> list[bool]:
    flags: list[bool] = []
    for i, letter in enumerate(word):
        flags.append((i == 0 or not flags[-1]) if letter == "y" else letter not in "aeiou")
    return flags


def _measure(word: str) -> int:
    """Return the number of vowel-consonant changes."""
    flags = _consonants(word)
    return sum(not a and b for a, b in pairwise(flags))


def _has_measure(word: str) -> bool:
    return _measure(word) > 0


def _long(word: str) -> bool:
    return _measure(word) > 1


def _has_vowel(word: str) -> bool:
    return not all(_consonants(word))


def _ends_short(word: str) -> bool:
    """Return whether a word ends in consonant, vowel, consonant (not w, x, y), or is a vowel and a consonant."""
    flags = _consonants(word)
    if len(word) >= 3 and flags[-3:] == [True, False, True]:
        return word[-1] not in "wxy"
    return len(word) == 2 and flags == [False, True]


def _apply(word: str, rules: Sequence[Rule]) -> str:
    """Apply the first rule whose suffix the word has, if its condition holds."""
    for suffix, replacement, condition in rules:
        if word.endswith(suffix):
            rest = word[: len(word) - len(suffix)]
            return rest + replacement if condition(rest) else word
    return word


def _always(rest: str) -> bool:
    return True


def _plural(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return _apply(word, [("sses", "ss", _always), ("ies", "i", _always), ("ss", "ss", _always), ("s", "", _always)])


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _has_measure(word[:-3]) else word
    for suffix in ("ed", "ing"):
        rest = word[: len(word) - len(suffix)]
        if word.endswith(suffix) and _has_vowel(rest):
            return _restore(rest)
    return word


def _restore(rest: str) -> str:
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if len(rest) >= 2 and rest[-1] == rest[-2] and _consonants(rest)[-1]:
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _ends_short(rest) else rest


def _final_y(word: str) -> str:
    rest = word[:-1]
    return rest + "i" if word.endswith("y") and len(rest) > 1 and _consonants(rest)[-1] else word


def _double_suffix(word: str) -> str:
    if word.endswith("alli") and _has_measure(word[:-4]):
        return _double_suffix(word[:-2])
    rules: list[Rule] = [(old, new, _has_measure) for old, new in _DOUBLE_SUFFIXES.items()]
    return _apply(word, [*rules, ("logi", "log", lambda rest: _has_measure(rest + "l"))])


def _suffix_of_adjective(word: str) -> str:
    suffixes = (("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""))
    return _apply(word, [(old, new, _has_measure) for old, new in (*suffixes, ("ness", ""))])


def _long_suffix(word: str) -> str:
    before = ["al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent"]
    after = ["ou", "ism", "ate", "iti", "ous", "ive", "ize"]
    ion: Rule = ("ion", "", lambda rest: _long(rest) and rest[-1] in "st")
    return _apply(word, [*((s, "", _long) for s in before), ion, *((s, "", _long) for s in after)])


def _final_e(word: str) -> str:
    rest = word[:-1]
    if word.endswith("e") and (_long(rest) or (_measure(rest) == 1 and not _ends_short(rest))):
        return rest
    return word


def _final_ll(word: str) -> str:
    return word[:-1] if word.endswith("ll") and _long(word[:-1]) else word
