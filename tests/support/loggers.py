"""Loggers that keep their files as those of MLflow and W&B do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import Logger


class NowhereLogger(Logger):
    """A logger without a folder, like one that writes to a server."""

    name = "nowhere"
    version = "0"

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...


class EagerLogger(NowhereLogger):
    """A logger with its files in the run folder, which writes one as it is made."""

    made: ClassVar[list[str]] = []
    """Folders of those that were made."""

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self._save_dir = save_dir
        self.made.append(save_dir)
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        Path(save_dir, "log.db").write_text("")

    @property
    def save_dir(self) -> str:
        return self._save_dir
