"""Cleaning of generated texts, so that they can be written to a file."""

from __future__ import annotations


def whole_characters(text: str) -> str:
    """Return the text with each lone surrogate (half a character, which UTF-8 cannot encode) replaced by U+FFFD.

    Example:
        >>> whole_characters("caf\\ud83d")
        'caf�'
    """
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
