"""What a round leaves on disk, and how a later process recognizes it as its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longmab_pl.errors import DataError
from longmab_pl.pairs.types import PAIR_FORMATS, PairFormat
from longmab_pl.storage.files import atomic_write

FORMAT = 2
"""Raised whenever prompts, seeds, defaults or file formats change so that an old journal must not be continued."""

ROUNDS = "rounds"
"""The folder of all rounds in a run folder."""


class RoundFolder:
    """The files of one round: `rounds/<number>-<fingerprint>/`.

    The folder's name carries the fingerprint of settings, records and policy: a changed setting starts a new folder,
    and the same run started again continues in the old one.
    """

    def __init__(self, run_folder: Path, number: int, fingerprint: str, format: PairFormat = "jsonl") -> None:
        self.number = number
        self.fingerprint = fingerprint
        self.folder = run_folder / ROUNDS / f"{number:03d}-{fingerprint}"
        self._format: PairFormat = format

    @classmethod
    def at(cls, folder: Path) -> RoundFolder:
        """The round in this folder.

        Raises:
            DataError: it is no round's folder.
        """
        number, _, fingerprint = folder.resolve().name.partition("-")
        if folder.resolve().parent.name != ROUNDS or not number.isdigit() or not fingerprint:
            raise DataError(f"{folder} is not the folder of a round (<run folder>/{ROUNDS}/000-...)")
        return cls(folder.resolve().parent.parent, int(number), fingerprint)

    @property
    def journal(self) -> Path:
        return self.folder / "completions.jsonl"

    @property
    def format(self) -> PairFormat:
        """Of the pairs: as they lie there, or, as long as there are none, as they will be written."""
        for format in PAIR_FORMATS:
            if (self.folder / f"pairs.{format}").exists():
                return format
        return self._format

    @property
    def pairs(self) -> Path:
        return self.folder / f"pairs.{self.format}"

    @property
    def settings(self) -> Path:
        """What the round's answers and pairs depend on; written first, so that its pairs can be made again."""
        return self.folder / "settings.json"

    @property
    def rollouts(self) -> Path:
        return self.folder / "rollouts.jsonl"

    @property
    def spool(self) -> Path:
        """Finished records of a round in the making; the whole round's are in `rollouts`."""
        return self.folder / "rollouts.partial.jsonl"

    @property
    def summary(self) -> Path:
        return self.folder / "round.json"

    @property
    def complete(self) -> bool:
        """The summary is written last, so its presence means that the pairs are whole."""
        return self.summary.exists()

    def read_settings(self) -> dict[str, Any]:
        """
        Raises:
            DataError: the round has none, it is damaged, or another version wrote it.
        """
        try:
            settings: dict[str, Any] = json.loads(self.settings.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{self.settings} is missing: give the folder of a round, or of a run") from error
        except ValueError as error:
            raise DataError(f"{self.settings} is not JSON: {error}") from error
        _check_format(settings, self.folder)
        return settings

    def write_settings(self, settings: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.settings) as file:
            file.write(json.dumps(settings, indent=1) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        with atomic_write(self.summary) as file:
            file.write(json.dumps(summary, indent=1) + "\n")

    def read_summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
        return summary


def refuse_older_rounds(run_folder: Path) -> None:
    """Refuse a run folder whose rounds another version of the package wrote.

    Raises:
        DataError: names the round.
    """
    for file in sorted((run_folder / ROUNDS).glob("*/settings.json")):
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue  # a damaged one is named by what reads it
        _check_format(settings, file.parent)


def _check_format(settings: dict[str, Any], folder: Path) -> None:
    if settings.get("format") != FORMAT:
        raise DataError(
            f"{folder} was written by another version of longmab_pl (format {settings.get('format')}, this one writes "
            f"{FORMAT}): start again in another run folder, or finish it with that version"
        )
