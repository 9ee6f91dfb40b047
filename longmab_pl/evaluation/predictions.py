"""Predictions on disk: one JSON line each, written as they finish, found again by a run that was cut off."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError, DataError


@dataclass(frozen=True)
class Prediction:
    """What the model answered to one record.

    Args:
        id: the record's id.
        digest: `record_digest` of the record that was asked.
        text: the response, as scored.
        finish_reason: "stop" or "length".
        prompt_tokens, completion_tokens: lengths in tokens.
        cut: whether the prompt was cut in the middle.
    """

    id: str
    digest: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cut: bool


def record_digest(record: QARecord) -> str:
    """A short hash of question and context: a record that changed under the same id is asked again."""
    digest = hashlib.sha256(record.question.encode())
    digest.update(b"\0")
    digest.update(record.context.encode())
    return digest.hexdigest()[:16]


class PredictionFile:
    """`<folder>/<task>.jsonl` with `<folder>/<task>.settings.json` beside it.

    The rows carry `pred`, `answers`, `all_classes` and `length`, so that LongBench's official scorer reads the file.
    What the predictions depend on (model, prompt, sampling) stands in the settings file; predictions made under other
    settings are never mixed in.

    Args:
        folder: made if missing.
        task: the task's name.
        settings: as JSON.
        overwrite: throw away predictions made under other settings in place of refusing.

    Raises:
        ConfigError: the folder holds predictions of this task made under other settings.
        DataError: a line in the middle of the file is unreadable.
    """

    def __init__(self, folder: Path, task: str, settings: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = folder / f"{task}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        if changed_settings(folder, task, settings) is not None:
            if not overwrite:
                refuse_other_settings(folder, task, settings)
            self.path.unlink(missing_ok=True)
            text = json.dumps(settings, ensure_ascii=False, indent=1) + "\n"
            _write_atomically(_settings_path(folder, task), text)
        self.finished = {(p.id, p.digest): p for p in self._recover()}
        self._file: IO[str] | None = None

    def append(self, prediction: Prediction, gold: dict[str, Any], scores: dict[str, float]) -> None:
        """Write one finished prediction and flush it to the operating system."""
        row = {
            "id": prediction.id,
            "pred": prediction.text,
            **gold,
            "scores": scores,
            "finish_reason": prediction.finish_reason,
            "prompt_tokens": prediction.prompt_tokens,
            "completion_tokens": prediction.completion_tokens,
            "cut": prediction.cut,
            "digest": prediction.digest,
        }
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _recover(self) -> Iterator[Prediction]:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            # The run was killed while it wrote its last line: that prediction is made again.
            with self.path.open("r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                row = json.loads(line)
                yield Prediction(
                    id=row["id"],
                    digest=row["digest"],
                    text=row["pred"],
                    finish_reason=row["finish_reason"],
                    prompt_tokens=row["prompt_tokens"],
                    completion_tokens=row["completion_tokens"],
                    cut=row["cut"],
                )
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self.path}:{number}: not a prediction ({error!r}); delete that line, or the file to start anew"
                ) from error


def changed_settings(folder: Path, task: str, settings: dict[str, Any]) -> list[str] | None:
    """Names of the settings that differ from those of the predictions in `folder`; None if all are the same.

    Where no settings were ever written, that is a difference too: all of them are named.
    """
    known, wanted = _read_settings(_settings_path(folder, task)), json.loads(json.dumps(settings))
    if known == wanted:
        return None
    return [key for key in {**(known or {}), **wanted} if known is None or known.get(key) != wanted.get(key)]


def refuse_other_settings(folder: Path, task: str, settings: dict[str, Any]) -> None:
    """Raises `ConfigError` if there are predictions of this task in `folder` that were made with other settings."""
    path = folder / f"{task}.jsonl"
    if changed_settings(folder, task, settings) is None or not path.exists() or not path.stat().st_size:
        return
    difference = _difference(_read_settings(_settings_path(folder, task)), json.loads(json.dumps(settings)))
    raise ConfigError(
        f"{path}: these predictions were made with other settings ({difference}); "
        f"choose another folder for the predictions, or pass overwrite=True to throw them away"
    )


def _settings_path(folder: Path, task: str) -> Path:
    return folder / f"{task}.settings.json"


def _read_settings(path: Path) -> dict[str, Any] | None:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); delete it and the predictions beside it to start anew") from error
    return settings if isinstance(settings, dict) else None


def _difference(known: dict[str, Any] | None, settings: dict[str, Any]) -> str:
    if known is None:
        return "its settings file is missing"
    changed = [key for key in {**known, **settings} if known.get(key) != settings.get(key)]
    return "; ".join(f"{key}: {_short(known.get(key))} there, {_short(settings.get(key))} now" for key in changed)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
