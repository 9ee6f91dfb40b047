"""Our own word lists for RULER: keys, common words, and a large vocabulary put together from them."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def word_list(name: str) -> tuple[str, ...]:
    """Return a shipped list: `nouns`, `adjectives` or `verbs`."""
    file = resources.files(__package__ or "") / "wordlists" / f"{name}.txt"
    return tuple(file.read_text(encoding="utf-8").split())


@cache
def key_words() -> tuple[str, ...]:
    """Return the words that needles are made of, an adjective and a noun each, sorted."""
    return tuple(sorted({f"{a}-{n}" for a in word_list("adjectives") for n in word_list("nouns")}))


@cache
def common_words() -> tuple[str, ...]:
    """Return the words of short lists, sorted."""
    return tuple(sorted({*word_list("nouns"), *word_list("adjectives"), *word_list("verbs")}))


@cache
def many_words() -> tuple[str, ...]:
    """Return the words of longer lists, adjective and noun as one word, sorted."""
    return tuple(sorted({f"{a}{n}" for a in word_list("adjectives") for n in word_list("nouns")}))
