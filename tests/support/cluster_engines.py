"""Scripted engines for the workers of a cluster, which leave notes in a folder that the test reads."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from scripted_answers import numbered

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Completion, Request


def answer(request: Request, i: int) -> str:
    """Right now and then, drawn by the request's id: "number 10" for record r1."""
    number = int(request.id.split("/")[0].removeprefix("r")) * 10
    return f" number {number + random.Random(f'{request.id} {i}').choice([0, 0, 1, 2])}"


class NotedEngine(ScriptedEngine):
    """Writes a file named by its process when it starts, and into it what it is asked.

    Args:
        notes: folder of the files.
        seconds: time that a poll takes.
        slow_seconds: time that it takes in the first process that starts.
        **settings: those of `ScriptedEngine`.
    """

    def __init__(self, notes: str, seconds: float = 0.0, slow_seconds: float | None = None, **settings) -> None:
        super().__init__(answer, **settings)
        self.notes = Path(notes)
        self.seconds = seconds
        self.slow_seconds = slow_seconds

    def start(self, model: str) -> None:
        super().start(model)
        self.notes.mkdir(parents=True, exist_ok=True)
        first = not any(self.notes.iterdir())
        (self.notes / str(os.getpid())).touch()
        if first and self.slow_seconds is not None:
            self.seconds = self.slow_seconds

    def submit(self, request: Request) -> None:
        super().submit(request)
        self.asked.clear()
        with (self.notes / str(os.getpid())).open("a") as file:
            file.write(f"{request.id}\n")

    def poll(self) -> list[Completion]:
        time.sleep(self.seconds)
        self.occupancy.clear()
        return super().poll()


class AdapterEngine(ScriptedEngine):
    """Writes a file named by its process, and into it the adapters that it is given.

    Args:
        notes: folder of the files.
    """

    def __init__(self, notes: str) -> None:
        super().__init__(numbered)
        self.notes = Path(notes)

    def sync(self, adapter: Path | None) -> None:
        super().sync(adapter)
        self.notes.mkdir(parents=True, exist_ok=True)
        with (self.notes / str(os.getpid())).open("a") as file:
            file.write(f"{adapter or 'base'}\n")
