"""The words of a command line before any parser: which are options, which are their values."""

from __future__ import annotations

from collections.abc import Sequence


def options(args: Sequence[str]) -> list[tuple[str | None, str | None, list[str]]]:
    """Return the arguments as (option, value, words); an argument without option has None in its place.

    Example:
        >>> options(["paper.pdf", "--marks", "2", "--dtype=auto", "--json"])[1:]
        [('marks', '2', ['--marks', '2']), ('dtype', 'auto', ['--dtype=auto']), ('json', None, ['--json'])]
    """
    found: list[tuple[str | None, str | None, list[str]]] = []
    position = 0
    while position < len(args):
        word = args[position]
        position += 1
        if not word.startswith("--"):
            found.append((None, None, [word]))
        elif "=" in word:
            name, _, value = word[2:].partition("=")
            found.append((name, value, [word]))
        elif position < len(args) and not args[position].startswith("--"):
            found.append((word[2:], args[position], [word, args[position]]))
            position += 1
        else:
            found.append((word[2:], None, [word]))
    return found


def positionals(args: Sequence[str]) -> list[str]:
    """Return the arguments of a command, without its name, that are neither options nor their values; all options take
    a value.

    Example:
        >>> positionals(["paper.pdf", "--adapter", "runs/demo/adapter", "Who?", "--marks=2"])
        ['paper.pdf', 'Who?']
    """
    return [words[0] for option, _, words in options(args) if option is None]


def option_value(args: Sequence[str], name: str) -> str | None:
    """Return the value of an option, given as `--name value` or `--name=value`; None if it is not given."""
    return next((value for option, value, _ in options(args) if option == name.removeprefix("--")), None)
