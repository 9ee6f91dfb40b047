"""Text from data, files and servers made safe for messages: one short line without control characters."""

from __future__ import annotations

from longmab_pl.live import say

LIMIT = 60
"""Maximum length of a text quoted in a message, in characters."""

MESSAGE_LIMIT = 20_000
"""Maximum length of an error message, in characters."""

NOTE_LIMIT = 4_000
"""Maximum length of a note on stderr, in characters."""


def shown(text: str, limit: int = LIMIT) -> str:
    """Return the beginning of a text with control characters, line ends and unpaired surrogates escaped.

    Args:
        text: of any length and content.
        limit: maximum number of characters shown; for a longer text the result also says its length.

    Example:
        >>> shown("red \\x1b[31m alert")
        'red \\\\x1b[31m alert'
        >>> shown("x" * 100, limit=5)
        'xxxxx... (100 characters)'
    """
    return "".join(map(_escaped, text[:limit])) + _rest(text, limit)


def quoted(value: object, limit: int = LIMIT) -> str:
    """Return `repr` of a value, cut to `limit` characters.

    Args:
        value: a string or any other value to quote in a message.
        limit: maximum number of characters shown.
    """
    if isinstance(value, str):
        return repr(value[:limit]) + _rest(value, limit)
    return shown(repr(value), limit)


def printable(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return a message with all control characters but its line ends escaped, as in `shown`."""
    lines = message[:limit].split("\n")
    return "\n".join("".join(map(_escaped, line)) for line in lines) + _rest(message, limit)


def tell(message: str) -> None:
    """Print a note on stderr, made safe by `printable`."""
    say(printable(message, NOTE_LIMIT))


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return the first non-blank line of an error's message, made safe by `shown`; else the name of its type."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return shown(line, limit)


def _escaped(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def _rest(text: str, limit: int) -> str:
    return f"... ({len(text):,} characters)" if len(text) > limit else ""
