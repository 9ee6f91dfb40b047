"""The console for tables and closing lines."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from longmab_pl.shown import printable


class LiteralConsole(Console):
    """A console that prints every string as it is: no markup, no emoji names, control characters escaped.

    Strings carry names of folders, tasks and models; styled text must be given as a `rich.text.Text`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def wide_console() -> LiteralConsole:
    """Return a console for tables: the terminal's width, or wide enough where the output goes to a file."""
    console = LiteralConsole()
    return console if console.is_terminal else LiteralConsole(width=110)
