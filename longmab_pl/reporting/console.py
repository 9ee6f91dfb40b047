"""The console for tables and closing lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from longmab_pl.shown import printable

if TYPE_CHECKING:
    from rich.table import Table


class LiteralConsole(Console):
    """A console that prints every string as it is: no markup, no emoji names, control characters escaped.

    Strings carry names of folders, tasks and models; styled text must be given as a `rich.text.Text`. A table that is
    wider than the console loses its vertical lines.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        from rich.table import Table

        super().print(*(_fitted(o, self) if isinstance(o, Table) else o for o in objects), **options)


def _fitted(table: Table, console: Console) -> Table:
    """Return the table without its vertical lines if it is wider than the console with them, and with less space."""
    from rich import box
    from rich.measure import Measurement

    unbounded = LiteralConsole(width=10_000)
    for space in (1, 0):
        if Measurement.get(unbounded, unbounded.options, table).maximum > console.width:
            table.box = box.SIMPLE_HEAD
            table.show_edge = False
            table.pad_edge = False
            table.padding = (0, space, 0, 0)
    return table


def wide_console() -> LiteralConsole:
    """Return a console for tables: the terminal's width, or wide enough where the output goes to a file."""
    console = LiteralConsole()
    return console if console.is_terminal else LiteralConsole(width=110)
