"""Predictions on disk: one JSON line each, written as they finish, reused by a run that was interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.task import EvaluationTask
from longmab_pl.storage.append_log import AppendLog, LogKind, Row, read_rows
from longmab_pl.storage.checked_json import read_checked_json, write_checked_json
from longmab_pl.storage.files import atomic_write_binary


@dataclass(frozen=True)
class Prediction:
    """The model's answer to one record.

    Args:
        id: the record's id.
        digest: `record_digest` of the record that was asked.
        text: the response, as scored.
        finish_reason: "stop" or "length".
        prompt_tokens, completion_tokens: lengths in tokens.
        cut: whether the prompt was cut in the middle.
        steps: the responses before the answer, of a task of several turns.
    """

    id: str
    digest: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cut: bool
    steps: tuple[str, ...] = ()


def record_digest(record: QARecord) -> str:
    """Return a short hash of question and context, so that a record changed under the same id is asked again."""
    digest = hashlib.sha256(record.question.encode())
    digest.update(b"\0")
    digest.update(record.context.encode())
    return digest.hexdigest()[:16]


def questions_digest(tasks: Sequence[EvaluationTask]) -> str:
    """Return a digest (16 digits) of the tasks' records and settings; scores with another digest are not comparable."""
    digest = hashlib.blake2b(digest_size=8)
    for task in tasks:
        digest.update(repr((task.name, task.settings())).encode("utf-8", "surrogatepass"))
        for record in task.records:
            asked = (record.id, record.answers, record_digest(record))
            digest.update(repr(asked).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


PREDICTIONS = LogKind(
    name="prediction file",
    format=2,  # 2: a checksum in every line
    lost="its question is asked again",
    busy="This evaluation is running already. Wait for it, stop it, or use another folder.",
    header=False,  # LongBench's official scorer reads every line as a prediction; the settings file is the header
)


class PredictionFile:
    """`<folder>/<task>.jsonl` with `<folder>/<task>.settings.json` beside it.

    The rows carry `pred`, `answers`, `all_classes` and `length`, so that LongBench's official scorer reads the file.
    The settings file holds what the predictions depend on (model, prompt, sampling); predictions made under other
    settings are never mixed in. A damaged line is reported and removed, and its question is asked again.

    Args:
        folder: made if missing.
        task: the task's name.
        settings: settings of the predictions, as JSON.
        overwrite: delete predictions made under other settings instead of raising an error.

    Raises:
        ConfigError: the folder holds predictions of this task made under other settings.
        DataError: another process is writing them, or their settings are damaged.
        LongMabError: the folder cannot be written.
    """

    def __init__(self, folder: Path, task: str, settings: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = folder / f"{task}.jsonl"
        if changed_settings(folder, task, settings) is not None:
            if not overwrite:
                refuse_other_settings(folder, task, settings)
            self.path.unlink(missing_ok=True)
            write_checked_json(_settings_path(folder, task), settings)
        self.finished: dict[tuple[str, str], Prediction] = {}
        self._log: AppendLog | None = None
        if self.path.exists():
            self._opened().close()

    def append(self, prediction: Prediction, gold: dict[str, Any], scores: dict[str, float]) -> None:
        """Write one finished prediction and hand it to the operating system.

        Raises:
            LongMabError: the disk is full or the file cannot be written; the same command continues.
        """
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
        if prediction.steps:
            row["steps"] = list(prediction.steps)
        if self._log is None:
            self._log = self._opened()
        self._log.write([row])

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _opened(self) -> AppendLog:
        log = AppendLog(self.path, PREDICTIONS, "", self._keep)
        if not log.damaged:
            return log
        # No reader may meet them, the official scorer included.
        log.close()
        with self.path.open("rb") as lines, atomic_write_binary(self.path) as kept:
            kept.writelines(line for number, line in enumerate(lines, 1) if number not in log.damaged)
        return AppendLog(self.path, PREDICTIONS, "", self._keep)

    def _keep(self, row: Row, _: int) -> None:
        prediction = Prediction(
            id=row["id"],
            digest=row["digest"],
            text=row["pred"],
            finish_reason=row["finish_reason"],
            prompt_tokens=row["prompt_tokens"],
            completion_tokens=row["completion_tokens"],
            cut=row["cut"],
            steps=tuple(row.get("steps", ())),
        )
        self.finished[prediction.id, prediction.digest] = prediction


def predicted_texts(folder: Path, task: EvaluationTask) -> dict[str, str]:
    """Return the text of every prediction of a task's records on disk, by record id."""
    path = folder / f"{task.name}.jsonl"
    rows = read_rows(path) if path.exists() else ()
    texts = {(row["id"], row["digest"]): row["pred"] for _, _, row in rows if row is not None}
    keys = {record.id: (record.id, record_digest(record)) for record in task.records}
    return {id: texts[key] for id, key in keys.items() if key in texts}


def changed_settings(folder: Path, task: str, settings: dict[str, Any]) -> list[str] | None:
    """Return the names of the settings that differ from those of the predictions in `folder`; None if all are equal.

    If no settings were ever written, all of them differ.
    """
    known, wanted = _read_settings(_settings_path(folder, task)), json.loads(json.dumps(settings))
    if known == wanted:
        return None
    return [key for key in {**(known or {}), **wanted} if known is None or known.get(key) != wanted.get(key)]


def refuse_other_settings(folder: Path, task: str, settings: dict[str, Any]) -> None:
    """Raise `ConfigError` if `folder` has predictions of this task that were made with other settings."""
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
        return read_checked_json(path, "delete it and the predictions beside it to start again")
    except FileNotFoundError:
        return None


def _difference(known: dict[str, Any] | None, settings: dict[str, Any]) -> str:
    if known is None:
        return "its settings file is missing"
    changed = [key for key in {**known, **settings} if known.get(key) != settings.get(key)]
    return "; ".join(f"{key}: {_short(known.get(key))} there, {_short(settings.get(key))} now" for key in changed)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
