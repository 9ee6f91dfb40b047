"""Text from data, files, servers and folders in messages: one line, short, nothing that a terminal obeys."""

from __future__ import annotations

import sys

LIMIT = 60
"""Characters of a text that a message shows."""

MESSAGE_LIMIT = 20_000
"""Characters of a whole error message."""

NOTE_LIMIT = 4_000
"""Characters of a note on stderr."""


def shown(text: str, limit: int = LIMIT) -> str:
    """Return the text's beginning with control characters, line ends and half characters escaped.

    Args:
        text: of any length and content.
        limit: the most characters of it to show; what was cut off is counted in the result.

    Example:
        >>> shown("red \\x1b[31m alert")
        'red \\\\x1b[31m alert'
        >>> shown("x" * 100, limit=5)
        'xxxxx... (100 characters)'
    """
    return "".join(map(_escaped, text[:limit])) + _rest(text, limit)


def quoted(value: object, limit: int = LIMIT) -> str:
    """Return `repr` of a value, cut to `limit` characters; of numbers and other short values the whole.

    Args:
        value: a string, or a value whose text a message quotes.
        limit: the most characters of it to show.
    """
    if isinstance(value, str):
        return repr(value[:limit]) + _rest(value, limit)
    return shown(repr(value), limit)


def printable(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return a message of several lines as a terminal may print it: `shown` for everything but its line ends."""
    lines = message[:limit].split("\n")
    return "\n".join("".join(map(_escaped, line)) for line in lines) + _rest(message, limit)


def tell(message: str) -> None:
    """Print a note for people on stderr, `printable`."""
    print(printable(message, NOTE_LIMIT), file=sys.stderr, flush=True)


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return the first line of what an error says that is not blank, `shown`; else the name of its type."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return shown(line, limit)


def _escaped(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def _rest(text: str, limit: int) -> str:
    return f"... ({len(text):,} characters)" if len(text) > limit else ""
