"""What a round leaves on disk, and how a later process recognises it as its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from longmab_pl.data.records import QARecord
from longmab_pl.errors import DataError, LongMabError
from longmab_pl.storage.files import settle, settle_folder

PairFormat = Literal["jsonl", "parquet"]
PAIR_FORMATS: tuple[PairFormat, ...] = ("jsonl", "parquet")

FORMAT = 1
"""Raised whenever prompts, seeds or file formats change so that an old journal must not be continued."""


def describe(component: Any) -> Any:
    """A component's settings as JSON values, with its class: what a fingerprint is made of."""
    if dataclasses.is_dataclass(component) and not isinstance(component, type):
        values = {f.name: describe(getattr(component, f.name)) for f in dataclasses.fields(component)}
        return {"class": f"{type(component).__module__}.{type(component).__qualname__}", **values}
    if hasattr(component, "describe"):
        return {"class": f"{type(component).__module__}.{type(component).__qualname__}", **component.describe()}
    if isinstance(component, dict):
        return {str(k): describe(v) for k, v in component.items()}
    if isinstance(component, list | tuple):
        return [describe(v) for v in component]
    if isinstance(component, str | int | float | bool) or component is None:
        return component
    return repr(component)


def digest(value: Any) -> str:
    """16 hexadecimal digits that stand for a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def records_digest(records: Sequence[QARecord]) -> str:
    h = hashlib.blake2b(digest_size=8)
    for r in records:
        h.update("\x1f".join([r.id, r.question, *r.answers, r.context]).encode("utf-8", "surrogatepass"))
    return h.hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A text file to write that appears under its name only when it is whole.

    Raises:
        LongMabError: the disk is full or the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
            settle(file)
        partial.replace(path)
        settle_folder(path.parent)
    except OSError as error:
        raise LongMabError(
            f"cannot write {path}: {error.strerror}. Free some space (or fix the permissions) and run the same command "
            "again."
        ) from error


ROUNDS = "rounds"
"""The folder of all rounds in a run folder."""


class RoundStore:
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
    def at(cls, folder: Path) -> RoundStore:
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
        return self.folder / "rollouts.spool"

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
            DataError: the round has none, or it is damaged.
        """
        try:
            settings: dict[str, Any] = json.loads(self.settings.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{self.settings} is missing: give the folder of a round, or of a run") from error
        except ValueError as error:
            raise DataError(f"{self.settings} is not JSON: {error}") from error
        return settings

    def write_settings(self, settings: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self.settings) as file:
            file.write(json.dumps(settings, indent=1) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        with whole_file(self.summary) as file:
            file.write(json.dumps(summary, indent=1) + "\n")

    def read_summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
        return summary
