"""What a running command shows: notes, the step under way, and bars, on one line of a terminal or as lines in a file.

Everything goes to stderr. On a terminal of 80 columns or more the last line is live; elsewhere plain lines with the
time of day are written at intervals.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

NARROW = 80
"""Columns of a terminal below which no live line is drawn."""

STEP_INTERVAL_S = 4.5
"""Seconds between the lines of a step that is still under way, where there is no live line."""

BAR_INTERVAL_S = 30.0
"""Seconds between the lines of a bar, where there is no live line."""

_lock = threading.RLock()
_steps: list[Step] = []
_bar: Bar | None = None


def is_live() -> bool:
    """Return whether stderr is a terminal wide enough for a live line."""
    return sys.stderr.isatty() and shutil.get_terminal_size().columns >= NARROW


def say(text: str) -> None:
    """Print a line on stderr, above the live line if there is one."""
    with _lock:
        _clear()
        print(text, file=sys.stderr, flush=True)
        _redraw()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say that a long step begins, and that it is still under way, until the block ends.

    Args:
        title: what is done: `loading weights of Qwen/Qwen2.5-7B-Instruct`.

    Example:
        >>> with step("reading records"):
        ...     pass
    """
    current = Step(title)
    current.begin()
    try:
        yield
    except BaseException:
        current.end(failed=True)
        raise
    current.end()


class Step:
    """A step of a command that has begun. Use `step`."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._started = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True, name="longmab step")

    def begin(self) -> None:
        with _lock:
            _steps.append(self)
            if not is_live():
                stamped(f"{self.title} ...")
            else:
                _redraw()
        self._thread.start()

    def end(self, failed: bool = False) -> None:
        self._done.set()
        with _lock:
            _clear()
            if self in _steps:
                _steps.remove(self)
            seconds = time.monotonic() - self._started
            if not failed and is_live():
                print(f"{self.title}: {duration(seconds)}", file=sys.stderr, flush=True)
            elif not failed and seconds >= STEP_INTERVAL_S:
                stamped(f"{self.title}: done in {duration(seconds)}")
            _redraw()

    def line(self) -> str:
        """Return the live line of the step."""
        return f"{self.title} ... {duration(time.monotonic() - self._started)}"

    def _tick(self) -> None:
        live = is_live()
        while not self._done.wait(0.5 if live else STEP_INTERVAL_S):
            with _lock:
                if _steps and _steps[-1] is self and _bar is None:
                    if live:
                        _redraw()
                    else:
                        stamped(f"{self.title}: still under way, {duration(time.monotonic() - self._started)}")


class Bar:
    """The progress of counted work.

    Args:
        title: what is done: `round 1/2 rollout`.
        total: how many there are.
        unit: what is counted, in the plural: `responses`.
        hidden: whether nothing is shown.

    Attributes:
        total: may change while the bar is shown.
        done: how many are done.
    """

    def __init__(self, title: str, total: int, unit: str, *, hidden: bool = False) -> None:
        global _bar
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0
        self.note = ""
        self._hidden = hidden
        self._started = time.monotonic()
        self._shown = self._started
        self._closed = False
        if not hidden:
            with _lock:
                _bar = self
                if is_live():
                    _redraw()
                else:
                    stamped(f"{title}: {total:,} {unit}")

    def update(self, count: int = 1, note: str | None = None) -> None:
        """Count work that is done, and set the note behind the numbers."""
        self.done += count
        if note is not None:
            self.note = note
        now = time.monotonic()
        if self._hidden or self._closed:
            return
        with _lock:
            if is_live():
                if now - self._shown >= 0.1:
                    self._shown = now
                    _redraw()
            elif now - self._shown >= BAR_INTERVAL_S and self.done < self.total:
                self._shown = now
                stamped(self.line(width=None))

    def close(self) -> None:
        """Show the final numbers; a second call does nothing."""
        global _bar
        if self._closed or self._hidden:
            return
        self._closed = True
        with _lock:
            _clear()
            if _bar is self:
                _bar = None
            if is_live():
                print(self.line(), file=sys.stderr, flush=True)
            else:
                stamped(self.line(width=None))
            _redraw()

    def fitting(self, columns: int) -> str:
        """Return the bar as text of at most this length: without the drawn bar, then without its last numbers.

        Args:
            columns: columns of the terminal.
        """
        for width in (12, None):
            text = self.line(width)
            if len(text) <= columns:
                return text
        whole = max(text.rfind(mark, 0, columns + 1) for mark in (", ", "; "))
        return text[: whole if whole > 0 else columns]

    def line(self, width: int | None = 12) -> str:
        """Return the bar as text.

        Args:
            width: characters of the drawn bar; None draws none.
        """
        seconds = time.monotonic() - self._started
        share = min(self.done / self.total, 1.0) if self.total > 0 else 1.0
        left = f", {duration(seconds / share - seconds)} left" if 0 < share < 1 and not self._closed else ""
        drawn = f"{'█' * round(share * width):░<{width}} " if width is not None else ""
        note = f"; {self.note}" if self.note else ""
        counted = f"{self.done:,} of {self.total:,} {self.unit}"
        return f"{self.title}: {drawn}{share:.0%}, {counted} in {duration(seconds)}{left}{note}"


def duration(seconds: float) -> str:
    """Return a time in words of at most two units.

    Example:
        >>> duration(3.21), duration(61), duration(7_321)
        ('3.2 s', '1:01 min', '2:02 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def stamped(text: str) -> None:
    """Print a line on stderr with the time of day in front."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def _clear() -> None:
    if is_live() and (_bar is not None or _steps):
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _redraw() -> None:
    if not is_live():
        return
    columns = shutil.get_terminal_size().columns - 1
    text = _bar.fitting(columns) if _bar is not None else _steps[-1].line()[:columns] if _steps else ""
    if text:
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
