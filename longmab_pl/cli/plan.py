"""What a command is going to do, said before it begins."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

from longmab_pl.cli.settings.classes import class_settings, full_path
from longmab_pl.cli.settings.merged import MergedConfig, Section
from longmab_pl.data import shipped_path
from longmab_pl.errors import DataError
from longmab_pl.shown import shown

COUNTED_BYTES = 200_000_000
"""Largest file whose lines are counted before the start, in bytes: less than a second."""


def announce(command: str, config: MergedConfig) -> None:
    """Print the model, data, rounds, engine, evaluation and folder of a run on stderr."""
    lines = [("model", _model(config)), ("data", _data(config)), ("rounds", _rounds(config))]
    if command == "fit":
        lines += [("engine", _engine(config)), ("evaluation", _evaluation(config)), ("output", _output(config))]
    print(f"longmab {command}", file=sys.stderr)
    for name, text in lines:
        if text:
            print(f"  {name:<11}{text}", file=sys.stderr)
    sys.stderr.flush()


def _model(config: MergedConfig) -> str:
    lora = config.value("model", "lora", "r", default=8)
    base = {"nf4": "4 bits (NF4)"}.get(str(config.value("model", "quantization"))) or config.value(
        "model", "dtype", default="bf16"
    )
    return f"{_text(config.value('model', 'model', default='not set'))}, {base}, LoRA of rank {lora}"


def _data(config: MergedConfig) -> str:
    train = str(config.value("data", "train", default="shipped:synthetic_train"))
    unit = "pairs" if config.class_name("data") == "PreferenceDataModule" else "records"
    count = record_count(train)
    held = config.value("data", "eval_fraction")
    apart = f"; {held:.0%} of the contexts held out for evaluation" if isinstance(held, float) and held > 0 else ""
    return f"{_text(train)}{f', {count:,} {unit}' if count is not None else ''}{apart}"


def _rounds(config: MergedConfig) -> str:
    if config.class_name("data") == "PreferenceDataModule":
        epochs = config.value("data", "epochs", default=1)
        return f"{epochs} pass{'es' * (epochs != 1)} over the pairs"
    rounds = config.value("data", "rounds", default=2)
    records = config.value("data", "records_per_round")
    strategy = config.class_name("data", "strategy", default="BanditRollout") or "BanditRollout"
    return f"{rounds}, of {'all records' if records is None else f'{records} records'} each, read by {strategy}"


def _engine(config: MergedConfig) -> str:
    where = {
        "VLLMEngine": "vLLM in this process",
        "TransformersEngine": "Transformers in this process (slow)",
        "ServerEngine": "vLLM servers",
    }
    name = config.engine
    if (cluster := config.value("data", "cluster")) is not None:
        return f"{name} in every worker of a Ray cluster ({cluster.get('workers', 2)}), and here for evaluations"
    return f"{name}: {where[name]}" if name in where else name


def _evaluation(config: MergedConfig) -> str:
    said = []
    for suite in config.suites():
        path = _class(suite)
        data, limit = _inner(suite).get("data"), _inner(suite).get("limit")
        name = path.rpartition(".")[2].removesuffix("Suite")
        known = class_settings(full_path(path) or path)
        takes_data = known is not None and known.find("data") is not None
        foreign = str(data).startswith("shipped:") and not str(config.value("data", "train")).startswith("shipped:")
        note = " (the package's questions, not yours: --eval FILE)" if foreign else ""
        where = f" on {_text(data)}{note}" if data else " on held-out records" if takes_data and name == "QA" else ""
        said.append(f"{name}{where}{f', at most {limit} questions' if limit else ''}")
    return "; ".join(said) or "none (--eval FILE adds one)"


def _output(config: MergedConfig) -> str:
    run = config.run_folder
    asked = config.value("ckpt_path")
    if asked is not None:
        return f"{run} (continued from {_text(asked)})"
    if not run.exists() or not any(run.iterdir()):
        return f"{run} (new)"
    if (run / "checkpoints" / "last.ckpt").exists():
        return f"{run} (there already: begins again; --ckpt_path last continues it)"
    return f"{run} (there already; finished rounds with the same settings are used again)"


def record_count(source: str) -> int | None:
    """Return the number of lines of a `.jsonl` file or a shipped set; None if it is not known quickly."""
    shipped = source.removeprefix("shipped:")
    try:
        path = shipped_path(shipped) if shipped != source else Path(source).expanduser()
    except DataError:
        return None
    if not path.is_file() or path.stat().st_size > COUNTED_BYTES:
        return None
    name = path.name.lower()
    if not name.endswith((".jsonl", ".jsonl.gz")):
        return None
    try:
        with gzip.open(path) if name.endswith(".gz") else path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError:
        return None


def _class(value: Any) -> str:
    return str(value.class_path if isinstance(value, Section) else value)


def _inner(value: Any) -> dict[str, Any]:
    inner = value.get("init_args", {}) if isinstance(value, Section) else {}
    return inner if isinstance(inner, dict) else {}


def _text(value: Any) -> str:
    return shown(str(value), 80)
