"""Parsing of commands whose options are the parameters of one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from longmab_pl.cli.config_errors import OneErrorParser


def call(function: Callable[..., Any], args: Sequence[str]) -> None:
    """Parse a command's arguments by the function's signature and docstring, and call it.

    Args:
        function: function that runs the command.
        args: the command's name and its arguments.
    """
    from jsonargparse import auto_cli

    auto_cli(function, args=list(args[1:]), parser_class=OneErrorParser, prog=f"longmab {args[0]}")
