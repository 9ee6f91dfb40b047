"""Short options of `fit` (`--train`, `--eval`, `--output`, ...) written out as the settings that they stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from longmab_pl.cli.command_line import options
from longmab_pl.cli.settings.classes import full_path
from longmab_pl.cli.settings.merged import MergedConfig, Section, merged_config, run_folder
from longmab_pl.errors import ConfigError

SHORTCUTS: Mapping[str, str] = {
    "train": "training records: a .jsonl, .json or .parquet file, or a hub's owner/name",
    "eval": "evaluation questions, in the same form; without it a tenth of the contexts is held out of --train",
    "documents": "folder of text, Markdown and PDF files, in place of --train: the model writes the questions first",
    "output": "run folder (trainer.default_root_dir)",
    "model": "model: a folder, a hub's owner/name, or bundled:smollm2-135m-instruct (model.model)",
    "rounds": "on-policy rounds (data.rounds)",
    "records": "records in each round (data.records_per_round)",
    "engine": "engine: VLLMEngine, ServerEngine or TransformersEngine (data.engine)",
    "logger": "tensorboard, wandb, mlflow or csv (trainer.logger)",
    "ray": "rollouts on a Ray cluster: host:port of its head, auto, or no value for this machine (data.cluster)",
    "workers": "workers of the cluster, each with an engine (data.cluster.workers)",
    "worker-gpus": "GPUs of each worker (data.cluster.gpus_per_worker)",
}
"""What the short options are, by name."""

DOCUMENT_SET = "documents"
"""Folder in the run folder with the questions that `--documents` makes."""

HELD_OUT = 0.1
"""Share of the contexts that a run with `--train` and without `--eval` holds out for its evaluation."""

_SETTINGS = {
    "train": "data.init_args.train",
    "output": "trainer.default_root_dir",
    "model": "model.model",
    "rounds": "data.init_args.rounds",
    "records": "data.init_args.records_per_round",
}
_CLUSTER = {"ray": "address", "workers": "workers", "worker-gpus": "gpus_per_worker"}
_LOGGERS = {"tensorboard": "TensorBoardLogger", "wandb": "WandbLogger", "mlflow": "MLFlowLogger", "csv": "CSVLogger"}
_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
_QA = "longmab_pl.evaluation.QASuite"
_EVALUATION = "longmab_pl.callbacks.Evaluation"


def expanded(args: Sequence[str]) -> list[str]:
    """Return arguments with every short option written out.

    Args:
        args: arguments after the command's name, whose configs are paths.

    Raises:
        ConfigError: a value is missing, or a logger's package is not installed.

    Example:
        >>> expanded(["--train", "my.jsonl"])[0]
        '--data.init_args.train=my.jsonl'
    """
    plain: list[str] = []
    short: dict[str, str] = {}
    for option, value, words in options(args):
        if option is None or option not in SHORTCUTS:
            plain += words
        elif value is None and option == "ray":
            short[option] = ""
        elif value is None:
            raise ConfigError(f"--{option} needs a value: {SHORTCUTS[option]}")
        else:
            short[option] = value
    config = merged_config(plain)
    kind = config.class_name("data")
    if "documents" in short:
        short |= _document_set(short, config)
    for name, given in short.items():
        if name in _SETTINGS:
            plain.append(f"--{_setting(name, kind)}={given}")
    if "engine" in short:
        plain += _engine(short["engine"], config)
    if "logger" in short:
        plain.append(f"--trainer.logger={_logger(short['logger'], str(merged_config(plain).run_folder))}")
    plain += _cluster(short, config)
    return [*plain, *_evaluation(short, merged_config(plain))]


def _document_set(short: Mapping[str, str], config: MergedConfig) -> dict[str, str]:
    """Return `--train` and `--eval` for the questions that `--documents` makes in the run folder."""
    if "train" in short:
        raise ConfigError("--train and --documents are both given; --documents makes the training questions: give one")
    if config.class_name("data") not in ("", "RolloutDataModule"):
        raise ConfigError(
            f"--documents makes questions, and data is a {config.class_name('data')}; use a config with a "
            "RolloutDataModule, such as demo"
        )
    run = run_folder(short["output"]) if "output" in short else config.run_folder
    made = {side: str(run / DOCUMENT_SET / f"{side}.jsonl") for side in ("train", "eval")}
    return {name: path for name, path in made.items() if name not in short}


def _setting(name: str, kind: str) -> str:
    if kind == "PreferenceDataModule" and name in ("rounds", "records"):
        return {"rounds": "data.init_args.epochs", "records": "data.init_args.limit"}[name]
    return _SETTINGS[name]


def _cluster(short: Mapping[str, str], config: MergedConfig) -> list[str]:
    """Return the option that sets `data.cluster`, over what the configs have there."""
    given = {_CLUSTER[name]: value for name, value in short.items() if name in _CLUSTER}
    known = config.value("data", "cluster")
    if not given:
        return []
    if known is None and "address" not in given:
        raise ConfigError("--workers and --worker-gpus are for rollouts on a cluster; add --ray")
    numbers = {name: yaml.safe_load(value) for name, value in given.items() if name != "address"}
    return [f"--data.init_args.cluster={json.dumps({**(known or {}), **given, **numbers})}"]


def _engine(name: str, config: MergedConfig) -> list[str]:
    path = full_path(name) or name
    known = (
        {"concurrency": config.value("data", "engine", "concurrency")} if path.endswith("TransformersEngine") else {}
    )
    given = {key: value for key, value in known.items() if value is not None}
    return [
        f"--data.init_args.engine={path}",
        *(f"--data.init_args.engine.init_args.{k}={v}" for k, v in given.items()),
    ]


def _logger(name: str, run: str) -> str:
    if name not in _LOGGERS:
        raise ConfigError(f"--logger {name}: there is no such logger; use {', '.join(_LOGGERS)}")
    require_logger(name)
    settings: dict[str, Any] = {"save_dir": run}
    if name == "mlflow":
        if find_spec("sqlalchemy") is None:  # mlflow-skinny
            raise ConfigError(
                "--logger mlflow writes a database into the run folder, for which mlflow needs the package "
                "'sqlalchemy'; pip install mlflow (mlflow-skinny lacks it), or --logger tensorboard"
            )
        settings = {
            "tracking_uri": f"sqlite:///{run}/mlflow.db",
            "artifact_location": f"{run}/mlartifacts",  # else in the folder that the command runs in
            "experiment_name": "longmab",
            "run_name": Path(run).name,
        }
    elif name == "wandb":
        settings |= {"project": "longmab", "name": Path(run).name}
    return json.dumps({"class_path": f"lightning.pytorch.loggers.{_LOGGERS[name]}", "init_args": settings})


def require_logger(name: str) -> None:
    """Refuse a logger whose package is missing.

    Args:
        name: `wandb`, `mlflow`, `tensorboard` or `csv`.

    Raises:
        ConfigError: the package is not installed; the message has the command that installs it.
    """
    package = _PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise ConfigError(
            f"trainer.logger: {name} needs the package {package!r}, which is not installed; pip install {package}, or "
            "--logger tensorboard"
        )


def _evaluation(short: Mapping[str, str], config: MergedConfig) -> list[str]:
    """Return the options that evaluate on `--eval`, or on held-out contexts of `--train`."""
    if "eval" not in short and "train" not in short:
        return []
    if config.class_name("data") == "PreferenceDataModule":
        if "eval" in short:
            return [f"--data.init_args.val={short['eval']}", "--data.init_args.val_fraction=0"]
        return []
    callbacks = config.value("trainer", "callbacks", default=[])
    chosen = [_plain(item) for item in callbacks] if isinstance(callbacks, list) else []
    asked = [item["init_args"]["suite"] for item in chosen if _is_qa(item)]
    if not asked:
        chosen.append({"class_path": _EVALUATION, "init_args": {"suite": {"class_path": _QA}}})
        asked = [chosen[-1]["init_args"]["suite"]]
    for suite in asked:
        settings = suite.setdefault("init_args", {})
        settings["data"] = short.get("eval")
        settings.pop("tasks", None)
    written = [f"--trainer.callbacks={json.dumps(chosen)}"]
    if "eval" not in short and not config.value("data", "eval_fraction"):
        written.append(f"--data.init_args.eval_fraction={HELD_OUT}")
    if "eval" in short:
        written.append("--data.init_args.eval_fraction=0")
    return written


def _is_qa(callback: Any) -> bool:
    suite = callback.get("init_args", {}).get("suite") if isinstance(callback, dict) else None
    return isinstance(suite, dict) and str(suite.get("class_path")).rpartition(".")[2] == "QASuite"


def _plain(value: Any) -> Any:
    """Return a section as plain data, with `{class_path}` for a class that is named alone."""
    if isinstance(value, Section | dict):
        return {key: _plain_suite(key, inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _plain_suite(key: str, value: Any) -> Any:
    return {"class_path": value} if key == "suite" and isinstance(value, str) else _plain(value)
