"""Where messages of libraries go: to `log.txt` in the run folder; what a user can act on goes to the console too."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from longmab_pl.live import say
from longmab_pl.shown import printable
from longmab_pl.storage.text_log import TextLog

LOG = "log.txt"
"""Name of the log in the run folder."""

_OWN = "longmab_pl"
_CHATTY = ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero",
           "lightning.fabric.utilities.rank_zero", "pytorch_lightning", "transformers", "bitsandbytes",
           "huggingface_hub", "vllm", "mlflow", "wandb")  # fmt: skip
"""Loggers that write to the console by themselves."""


class RunLog(logging.Handler):
    """The handler of all loggers of a command.

    Messages of this package at level WARNING and above, and its warnings, are printed; the rest is only kept.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.file = TextLog()
        self._seen: set[str] = set()

    def install(self) -> None:
        """Take over the root logger and Python's warnings."""
        root = logging.getLogger()
        for handler in list(root.handlers):
            if isinstance(handler, RunLog):
                root.removeHandler(handler)
        root.addHandler(self)
        warnings.showwarning = self._warned

    def quiet_libraries(self) -> None:
        """Take the console away from the loggers of libraries, once these are imported."""
        for name in _CHATTY:
            logger = logging.getLogger(name)
            logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, logging.StreamHandler)]
            logger.propagate = True

    @contextmanager
    def kept_in(self, run: Path) -> Iterator[None]:
        """Write `log.txt` in a run folder, with what was said before, until the block ends."""
        with suppress(OSError):
            run.mkdir(parents=True, exist_ok=True)
        self.file.open(run / LOG)
        try:
            yield
        finally:
            self.file.close()

    def emit(self, record: logging.LogRecord) -> None:
        message = printable(record.getMessage(), 4_000)
        self._write(record.levelname, record.name, message)
        if record.name.partition(".")[0] == _OWN and record.levelno >= logging.WARNING:
            say(f"{record.levelname.lower()}: {message}")

    def _warned(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = printable(str(message), 4_000)
        self._write("WARNING", f"{filename}:{lineno}", f"{category.__name__}: {text}")
        if is_own(filename) and text not in self._seen:
            self._seen.add(text)
            say(f"warning: {text}")

    def _write(self, level: str, source: str, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self.file.write(f"{stamp} {level} {source}: {text}")


def is_own(filename: str) -> bool:
    """Return whether a source file is one of this package, wherever it is installed."""
    return any(Path(filename).is_relative_to(folder) for folder in _own_folders())


@cache
def _own_folders() -> list[str]:
    # In a checkout `callbacks` lies beside the package.
    specs = [find_spec(name) for name in (_OWN, f"{_OWN}.callbacks")]
    return [folder for spec in specs if spec is not None for folder in spec.submodule_search_locations or ()]


_current: list[RunLog] = []


def start_log() -> RunLog:
    """Install a log for this command and return it; a second call returns the same."""
    if not _current:
        _current.append(RunLog())
        _current[0].install()
    return _current[0]
