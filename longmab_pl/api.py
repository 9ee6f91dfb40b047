"""A run from Python in one call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from longmab_pl.callbacks.checkpoint import AdapterCheckpoint
from longmab_pl.callbacks.evaluation import Evaluation
from longmab_pl.callbacks.export import AdapterExport
from longmab_pl.callbacks.progress import RoundProgressBar
from longmab_pl.callbacks.round_report import RoundReport
from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.datamodules.preferences import PreferenceDataModule
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.evaluation.qa import QASuite
from longmab_pl.storage.locks import folder_lock
from longmab_pl.training.module import DPOModule

TRAINER_DEFAULTS: dict[str, Any] = {"num_sanity_val_steps": 0, "log_every_n_steps": 1, "enable_model_summary": False}
"""Settings of the Trainer that every run begins with, here and on the command line."""


@dataclass(frozen=True)
class TrainedRun:
    """What a run leaves.

    Args:
        folder: the run folder.
        adapter: folder of the final adapter, which PEFT, Transformers and vLLM load as it is; None if no round had a
            pair to train on.
        report: `report.json`: the rows of rounds and evaluations.
    """

    folder: Path
    adapter: Path | None
    report: dict[str, Any]


def train(
    train: str,
    *,
    eval: str | None = None,
    model: str = "bundled:smollm2-135m-instruct",
    rounds: int = 2,
    output: str = "runs/python",
    data: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    callbacks: list[Callback] | None = None,
) -> TrainedRun:
    """Run on-policy rounds: sample, score, pair, train, evaluate.

    The same call in the same folder uses finished rounds again.

    Args:
        train: records: a .jsonl, .json or .parquet file, or a hub's `owner/name`.
        eval: evaluation questions in the same form; None: a tenth of the contexts of `train` is held out.
        model: a local folder, a hub name, or `bundled:smollm2-135m-instruct`.
        rounds: number of on-policy rounds.
        output: the run folder.
        data: further settings of `RolloutDataModule`: `strategy`, `engine`, `records_per_round`, ...
        policy: further settings of `DPOModule`: `loss`, `beta`, `lora`, `quantization`, ...
        trainer: further settings of Lightning's `Trainer`: `accelerator`, `accumulate_grad_batches`, `logger`, ...
        callbacks: callbacks in place of an evaluation of the questions before training and after every round.

    Raises:
        ConfigError, DataError: a setting or the data cannot be used.
        LongMabError: the engine or the disk failed; the same call goes on.

    Example:
        >>> run = train("my.jsonl", model="Qwen/Qwen2.5-1.5B-Instruct", rounds=3)  # doctest: +SKIP
        >>> run.adapter  # doctest: +SKIP
        PosixPath('runs/python/adapter')
    """
    rollouts = {"eval_fraction": 0.1 if eval is None and callbacks is None else 0.0} | (data or {})
    module = DPOModule(model, **(policy or {}))
    rounds_of_data = RolloutDataModule(train=train, rounds=rounds, **rollouts)
    chosen: list[Callback] = [Evaluation(QASuite(eval))] if callbacks is None else list(callbacks)
    return _run(module, rounds_of_data, output, trainer or {}, chosen)


def train_on_file(
    train: str,
    *,
    val: str | None = None,
    model: str = "bundled:smollm2-135m-instruct",
    epochs: int = 1,
    output: str = "runs/python",
    data: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    callbacks: list[Callback] | None = None,
) -> TrainedRun:
    """Train on given preference pairs, or on given answers with `policy={"phases": [SFTPhase()]}`.

    Args:
        train: a .jsonl, .json or .parquet file, or a hub's `owner/name`.
        val: likewise, for validation; None: what `val_fraction` of `data` holds out.
        model: a local folder, a hub name, or `bundled:smollm2-135m-instruct`.
        epochs: passes over the data.
        output: the run folder.
        data: further settings of `PreferenceDataModule`: `columns`, `val_fraction`, `max_tokens_per_batch`, ...
        policy: further settings of `DPOModule`: `phases`, `loss`, `lora`, ...
        trainer: further settings of Lightning's `Trainer`.
        callbacks: further callbacks.

    Raises:
        ConfigError, DataError: a setting or the data cannot be used.

    Example:
        >>> from longmab_pl.training import SFTPhase
        >>> run = train_on_file("answers.jsonl", policy={"phases": [SFTPhase()]}, epochs=2)  # doctest: +SKIP
    """
    module = DPOModule(model, **(policy or {}))
    given = PreferenceDataModule(train, **({"val": val, "epochs": epochs} | (data or {})))
    return _run(module, given, output, trainer or {}, list(callbacks or []))


def _run(
    module: DPOModule, data: PairDataModule, output: str, trainer: dict[str, Any], callbacks: list[Callback]
) -> TrainedRun:
    settings = TRAINER_DEFAULTS | trainer
    if settings.get("enable_progress_bar", True):
        callbacks.append(RoundProgressBar())
    folder = Path(output).expanduser()
    lightning = Trainer(
        default_root_dir=folder,
        callbacks=[*callbacks, AdapterCheckpoint(), RoundReport(), AdapterExport()],
        **settings,
    )
    with folder_lock(folder, "a training run"):
        lightning.fit(module, datamodule=data)
    adapter = folder / "adapter"
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return TrainedRun(folder, adapter if adapter.is_dir() else None, report)
