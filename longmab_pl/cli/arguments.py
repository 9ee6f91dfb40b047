"""Parsing of commands whose options are the parameters of one function."""

from __future__ import annotations

import json
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from longmab_pl.cli.config_errors import OneErrorParser


def call(function: Callable[..., Any], args: Sequence[str], epilog: str | None = None) -> None:
    """Parse a command's arguments by the function's signature and docstring, and call it.

    Args:
        function: function that runs the command.
        args: the command's name and its arguments.
        epilog: text at the end of the help, printed as it is.
    """
    from jsonargparse import DefaultHelpFormatter, auto_cli

    class Help(DefaultHelpFormatter, RawDescriptionHelpFormatter):
        """The usual format of options, with descriptions as they are written."""

    auto_cli(
        function,
        args=switches_on(function, args[1:]),
        parser_class=OneErrorParser,
        prog=f"longmab {args[0]}",
        epilog=epilog,
        formatter_class=Help,
    )


def switches_on(function: Callable[..., Any], args: Sequence[str]) -> list[str]:
    """Return arguments in which an option of type bool without a value has the value true.

    Args:
        function: function that runs the command.
        args: its arguments, without the command's name.

    Example:
        >>> def report(run: str, live: bool = False, port: int = 8321) -> None: ...
        >>> switches_on(report, ["runs/demo", "--live", "--port", "0"])
        ['runs/demo', '--live', 'true', '--port', '0']
    """
    kinds = get_type_hints(function)
    found = []
    for i, arg in enumerate(args):
        found.append(arg)
        following = args[i + 1].lower() if i + 1 < len(args) else ""
        if kinds.get(arg[2:]) is bool and arg.startswith("--") and following not in ("true", "false", "yes", "no"):
            found.append("true")
    return found


def paths_as_list(args: Sequence[str]) -> list[str]:
    """Return arguments with a positional list for jsonargparse: `a b --metric f1` as `["a", "b"] --metric f1`."""
    end = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
    paths, rest = list(args[:end]), list(args[end:])
    if not paths or paths[0].startswith("["):
        return [*paths, *rest]
    return [json.dumps(paths), *rest]
