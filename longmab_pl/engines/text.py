"""Texts as engines hand them on: nothing that cannot be written to a file."""

from __future__ import annotations


def whole_characters(text: str) -> str:
    """Return the text with each lone surrogate, half of a character that UTF-8 cannot encode, as U+FFFD.

    Example:
        >>> whole_characters("caf\\ud83d")
        'caf�'
    """
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
