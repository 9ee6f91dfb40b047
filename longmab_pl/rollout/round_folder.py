"""The files of a round, and how a later process recognizes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longmab_pl.errors import DataError
from longmab_pl.pairs.types import PAIR_FORMATS, PairFormat
from longmab_pl.rollout.rollout_log import RolloutFile
from longmab_pl.storage.checked_json import is_whole, read_checked_json, write_checked_json
from longmab_pl.storage.checksums import difference, file_checksum

FORMAT = 3
"""Version number of the files: raised when prompts, seeds, defaults or formats change, so old journals are refused."""

ROUNDS = "rounds"
"""Name of the folder of all rounds in a run folder."""


class RoundFolder:
    """The files of one round: `rounds/<number>-<fingerprint>/`.

    The folder's name contains the fingerprint of settings, records and policy: a changed setting starts a new folder,
    and the same run started again continues in the old one.
    """

    def __init__(self, run_folder: Path, number: int, fingerprint: str, format: PairFormat = "jsonl") -> None:
        self.run_folder = run_folder
        self.number = number
        self.fingerprint = fingerprint
        self.folder = run_folder / ROUNDS / f"{number:03d}-{fingerprint}"
        self._format: PairFormat = format

    @classmethod
    def at(cls, folder: Path) -> RoundFolder:
        """Return the round in this folder.

        Raises:
            DataError: the folder is not a round's.
        """
        number, _, fingerprint = folder.resolve().name.partition("-")
        if folder.resolve().parent.name != ROUNDS or not number.isdigit() or not fingerprint:
            raise DataError(f"{folder} is not the folder of a round (<run folder>/{ROUNDS}/000-...)")
        return cls(folder.resolve().parent.parent, int(number), fingerprint)

    @property
    def journal(self) -> Path:
        return self.folder / "completions.jsonl"

    def worker_journal(self, number: int) -> Path:
        """Return the journal of one worker of a cluster (`rollout.cluster`); it is taken over into `journal`."""
        return self.folder / f"completions.worker-{number:03d}.jsonl"

    @property
    def worker_journals(self) -> list[Path]:
        """Journals of workers that are not taken over yet."""
        return sorted(self.folder.glob("completions.worker-*.jsonl"))

    @property
    def format(self) -> PairFormat:
        """Format of the pairs file, or, as long as there is none, the format in which it will be written."""
        for format in PAIR_FORMATS:
            if (self.folder / f"pairs.{format}").exists():
                return format
        return self._format

    @property
    def pairs(self) -> Path:
        return self.folder / f"pairs.{self.format}"

    @property
    def settings(self) -> Path:
        """File of all that the round's answers and pairs depend on; written first, so that pairs can be made again."""
        return self.folder / "settings.json"

    @property
    def rollouts(self) -> Path:
        return self.folder / "rollouts.jsonl"

    @property
    def rollout_log(self) -> Path:
        """File of finished records of an unfinished round; those of a finished round are in `rollouts`."""
        return self.folder / "rollouts.partial.jsonl"

    @property
    def summary(self) -> Path:
        return self.folder / "round.json"

    @property
    def complete(self) -> bool:
        """Whether the round is finished: the summary, which is written last, exists."""
        return self.summary.exists()

    def read_settings(self) -> dict[str, Any]:
        """Return the round's settings.

        Raises:
            DataError: the file is missing or damaged, or another version wrote it.
        """
        try:
            _refuse_another_version(self.settings)
            return read_checked_json(self.settings, "the same `longmab rollout` (or fit) writes it again")
        except FileNotFoundError as error:
            raise DataError(f"{self.settings} is missing: give the folder of a round, or of a run") from error

    def write_settings(self, settings: dict[str, Any]) -> None:
        write_checked_json(self.settings, settings)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the round's summary, with the checksums of its pairs and rollouts."""
        files = {path.name: file_checksum(path) for path in (self.pairs, self.rollouts)}
        write_checked_json(self.summary, {**summary, "files": files})

    def read_summary(self) -> dict[str, Any]:
        """Return the round's summary.

        Raises:
            DataError: the file is missing or damaged.
        """
        fix = "run the same command again: the round is made again from its journal"
        try:
            return read_checked_json(self.summary, fix)
        except FileNotFoundError as error:
            raise DataError(f"{self.summary} is missing: {fix}") from error

    def damage(self) -> str | None:
        """Return the damage of a complete round, with file and line if known, or None."""
        try:
            files = self.read_summary()["files"]
            self.read_settings()
        except DataError as error:
            return str(error).partition(": ")[0]
        for name, expected in files.items():
            found = difference(self.folder / name, expected)
            if found is not None:
                line = self._damaged_rollout() if name == self.rollouts.name else None
                return f"{self.folder / name}{line or ''} {found}"
        return None

    def _damaged_rollout(self) -> str | None:
        """Return the first damaged line of the rollouts; each line has its own checksum."""
        if not self.rollouts.is_file():
            return None
        lines = RolloutFile(self.rollouts).damaged
        return f", line {lines[0]}," if lines else None


def refuse_older_rounds(run_folder: Path) -> None:
    """Raise an error for a run folder with rounds that another version of the package wrote.

    Raises:
        DataError: another version wrote the named round.
    """
    for file in sorted((run_folder / ROUNDS).glob("*/settings.json")):
        _refuse_another_version(file)


def _refuse_another_version(settings: Path) -> None:
    """Raise an error for another version's settings; damaged ones are reported when they are read."""
    try:
        values = json.loads(settings.read_bytes())
    except (ValueError, RecursionError):
        return
    format = values.get("format", FORMAT) if isinstance(values, dict) else FORMAT
    older = isinstance(format, int) and format < FORMAT
    if older or (format != FORMAT and is_whole(values)):
        raise DataError(
            f"{settings.parent} was written by another version of longmab_pl (format {format!r}, this one writes "
            f"{FORMAT}): start again in another run folder, or finish it with that version"
        )
