"""Checks that a PEFT adapter folder fits a model: fast, from file headers, before an engine starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.errors import ConfigError, DataError, EngineError
from longmab_pl.shown import first_line, quoted
from longmab_pl.storage.checked_json import read_checked_json, write_checked_json
from longmab_pl.storage.checksums import difference, file_checksum

_LAYER = "base_model.model."


@dataclass(frozen=True)
class AdapterInfo:
    """A LoRA adapter that fits its model.

    Args:
        folder: the adapter folder.
        digest: 8 hexadecimal digits that identify its configuration and weights.
        rank: the largest rank of its layers.
        base_model: the model it was trained on, according to its config, or "".
    """

    folder: Path
    digest: str
    rank: int
    base_model: str


def fitting_adapter(adapter: Path | str, model: str) -> AdapterInfo:
    """Return a checked LoRA adapter: all its layers exist in the model, with the same shapes.

    The model is built without weights, and the adapter's shapes are read from its file's header.

    Args:
        adapter: a PEFT folder, as written by training or `save_pretrained`.
        model: a resolved folder or hub name (`models.resolve_model`).

    Raises:
        EngineError: the folder does not exist or lacks a file.
        ConfigError: it is not a LoRA adapter, cannot be read, or belongs to another model.
    """
    folder, config, layers = _read(adapter)
    matrices, stacks, tied_head = _weights_of(model)
    for name, (a, b) in layers.items():  # A [rank, in], B [out, rank]
        layer = name.removeprefix(_LAYER)
        if layer.startswith(stacks):
            continue  # experts stacked in one tensor: PEFT names their parts differently
        problem = ""
        if layer == tied_head:
            problem = f"it changes {layer}, whose weight this model uses for its embeddings too"
        elif layer not in matrices:
            problem = f"the model has no layer {layer}"
        elif b is None or a[0] != b[1]:
            problem = f"A and B of {layer} do not belong together ({list(a)}, {list(b or ())})"
        elif sorted((b[0], a[1])) != sorted(matrices[layer]):
            problem = f"{layer} is {list(matrices[layer])} in the model, and the adapter changes {[b[0], a[1]]}"
        if problem:
            raise _of_another(folder, model, problem, config)
    rank = max(a[0] for a, _ in layers.values())
    digest = _digest(folder / _CONFIG, folder / _WEIGHTS)
    return AdapterInfo(folder, digest, rank, str(config.get("base_model_name_or_path") or ""))


Layers = dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]]
"""Shapes of A [rank, in] and B [out, rank] by layer."""


def refuse_other_base(adapter: Path | str, model: str, name: str = "") -> None:
    """Refuse an adapter that surely belongs to another model, by both configs and the header of its weights.

    It needs neither torch nor Transformers and takes milliseconds. `fitting_adapter` checks every layer.

    Args:
        adapter: a PEFT folder.
        model: folder of the model; of a hub's model, its name is looked up in the local cache.
        name: what the user calls the model, for the message. Default: `model`.

    Raises:
        EngineError, ConfigError: as for `fitting_adapter`.
    """
    _refuse_other_sizes(*_read(adapter), model, name or model)


def _read(adapter: Path | str) -> tuple[Path, dict[str, Any], Layers]:
    """Return an adapter's folder, its configuration and the shapes of its layers."""
    folder = Path(adapter).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"the adapter folder {str(adapter)!r} does not exist; give the PEFT folder that training wrote"
        )
    config_file, weights_file = check_adapter(folder)
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        kind = config["peft_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{config_file}: not a PEFT configuration ({error!r}); export the adapter again") from error
    if kind != "LORA":
        raise ConfigError(f"{config_file}: the adapter's peft_type is {kind!r}; only LORA adapters can be evaluated")
    shapes = _shapes(weights_file)
    _refuse_other_weights(weights_file, shapes)
    layers: Layers = {
        name.removesuffix(".lora_A.weight"): (shape, shapes.get(name.replace(".lora_A.", ".lora_B.")))
        for name, shape in shapes.items()
        if name.endswith(".lora_A.weight")
    }
    if not layers:
        raise ConfigError(f"{weights_file}: holds no LoRA weights; export the adapter again")
    return folder, config, layers


_PLAIN_LAYER = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.\w+\.(?:q|k|v|gate|up)_proj")
"""Layers of a plain decoder whose input is as wide as the model."""


def _refuse_other_sizes(folder: Path, config: dict[str, Any], layers: Layers, model: str, called: str) -> None:
    """Refuse an adapter whose width or depth the model's config contradicts; a model without a config passes."""
    sizes = _model_config(model)
    width, depth = sizes.get("hidden_size"), sizes.get("num_hidden_layers")
    for name, (a, _) in layers.items():
        found = _PLAIN_LAYER.fullmatch(name)
        if found is None:
            continue
        layer = name.removeprefix(_LAYER)
        if isinstance(depth, int) and int(found[1]) >= depth:
            raise _of_another(folder, called, f"the model has {depth} layers, and the adapter changes {layer}", config)
        if isinstance(width, int) and len(a) == 2 and a[1] != width:
            problem = f"the model is {width} wide (hidden_size), and the adapter's {layer} takes {a[1]}"
            raise _of_another(folder, called, problem, config)


def _model_config(model: str) -> dict[str, Any]:
    """Return a model's config.json, of a folder or from the hub's cache on this machine; {} without one."""
    file: Any = Path(model).expanduser() / "config.json"
    if not file.is_file():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            file = try_to_load_from_cache(model, "config.json")
        except HFValidationError:
            return {}
    try:
        config = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return {}
    return config if isinstance(config, dict) else {}


def _of_another(folder: Path, model: str, problem: str, config: dict[str, Any]) -> ConfigError:
    trained_on = quoted(config.get("base_model_name_or_path"), 200)
    return ConfigError(
        f"the adapter {folder} does not fit the model {model!r}: {problem}; it was trained on {trained_on}"
    )


_LORA_WEIGHT = re.compile(r"\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector(\.weight)?)$")
"""Names of LoRA's matrices, and of DoRA's magnitudes, in an adapter file."""


def check_plain_lora(adapter: Path) -> None:
    """Refuse an adapter folder that contains more than LoRA and DoRA matrices of linear layers.

    Whole layers (`modules_to_save`, a resized vocabulary), biases, single tokens and embeddings are stored and merged
    differently, and vLLM does not serve them.

    Raises:
        EngineError: the folder does not exist or lacks a file.
        ConfigError: it has such weights; the message says which and what to do.
    """
    _, weights = check_adapter(adapter)
    _refuse_other_weights(weights, _shapes(weights))


def _refuse_other_weights(file: Path, names: Iterable[str]) -> None:
    others = sorted(name for name in names if not _LORA_WEIGHT.search(name))
    if not others:
        return
    name = others[0].removeprefix(_LAYER)
    if "trainable_tokens" in name:
        what = "embeddings of single tokens (trainable_token_indices)"
    elif "lora_embedding_" in name:
        what = "an adapter on the embeddings"
    elif name.endswith(".bias"):
        what = "biases"
    elif ".base_layer." in name:
        what = "the base model's own weights beside its matrices (PEFT's save_embedding_layers)"
    elif "embed" in name or "lm_head" in name or "wte" in name:
        what = "whole embeddings or a whole output head (modules_to_save, or a vocabulary that was resized)"
    else:
        what = "weights of whole layers (modules_to_save)"
    raise ConfigError(
        f"{file}: the adapter has {what}, such as {name}; only LoRA and DoRA matrices of linear layers can be "
        "evaluated, served and exported. Merge it with PEFT (merge_and_unload), save the model with its tokenizer, and "
        "use that folder as the model"
    )


def uses_dora(adapter: Path) -> bool:
    """Return whether an adapter folder has a DoRA adapter, which LoRA kernels do not support.

    Args:
        adapter: a folder that `check_adapter` has accepted.
    """
    file = adapter / _CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file} is not JSON ({first_line(error)}); export the adapter again") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{file} is not an adapter's configuration; export the adapter again")
    return bool(config.get("use_dora"))


def refuse_code(config: Any, source: Path) -> None:
    """Raise an error for a PEFT configuration that names a module, which PEFT would import.

    Args:
        config: the configuration as JSON values.
        source: the file that holds it, for the message.

    Raises:
        ConfigError: it names one.
    """
    if isinstance(config, dict) and config.get("megatron_config"):
        raise ConfigError(f"{source}: megatron_config names code to import; only plain LoRA adapters can be used")


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as weights:
            return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{file}: not a readable safetensors file ({error}); export the adapter again") from error


def _weights_of(model: str) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...], str | None]:
    """Return the shape of each layer's weight matrix by name, the names of modules with stacked matrices, and the name
    of an output head that shares its weight with the embeddings."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config: Any = AutoConfig.from_pretrained(model)
        with torch.device("meta"):
            skeleton = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise ConfigError(
            f"cannot build the model {model!r} to check the adapter: {reason}; give a Transformers model folder or a "
            "hub name that this machine can reach"
        ) from error
    matrices, stacks = {}, set()
    for name, parameter in skeleton.named_parameters(remove_duplicate=False):  # tied heads keep their own name
        if parameter.dim() == 2 and name.endswith(".weight"):
            matrices[name.removesuffix(".weight")] = tuple(parameter.shape)
        elif parameter.dim() > 2:
            stacks.add(name.rpartition(".")[0])
    head = skeleton.get_output_embeddings()
    tied = head is not None and head.weight is skeleton.get_input_embeddings().weight
    name = next((name for name, module in skeleton.named_modules() if module is head), None) if tied else None
    return matrices, tuple(stacks), name


def adapter_digest(folder: Path) -> str:
    """Return 8 hexadecimal digits that change with an adapter folder's configuration and weights.

    Raises:
        EngineError: the folder does not exist or lacks a file.
    """
    return _digest(*check_adapter(folder))


def _digest(config: Path, weights: Path) -> str:
    return hashlib.sha256(config.read_bytes() + weights.read_bytes()).hexdigest()[:8]


CHECKSUMS = "checksums.json"
"""File name of the checksums of an adapter's two files, in adapter folders that this package writes."""

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def write_checksums(folder: Path) -> None:
    """Write the checksums of an adapter folder's files, for `check_adapter`.

    Raises:
        LongMabError: the folder cannot be written.
    """
    write_checked_json(folder / CHECKSUMS, {name: file_checksum(folder / name) for name in (_CONFIG, _WEIGHTS)})


def _check_checksums(folder: Path) -> None:
    fix = f"export the adapter again, or delete {folder / CHECKSUMS} if you edited its files yourself"
    try:
        known = read_checked_json(folder / CHECKSUMS, fix)
    except FileNotFoundError:
        return  # written by another program
    for name, expected in known.items():
        if found := difference(folder / name, expected):
            raise DataError(f"{folder / name} {found}; {fix}")


def check_adapter(adapter: Path) -> tuple[Path, Path]:
    """Return the config and weight files of a PEFT adapter folder, checked for damage.

    Raises:
        EngineError: the folder does not exist or lacks one of them.
        DataError: the files have checksums from this package and are damaged.
        ConfigError: the config names a module, which PEFT would import.
    """
    config, weights = adapter / _CONFIG, adapter / _WEIGHTS
    for file in (config, weights):
        if not file.is_file():
            raise EngineError(f"{adapter} is not a PEFT adapter folder: there is no {file.name} in it")
    _check_checksums(adapter)
    with contextlib.suppress(ValueError):  # PEFT and vLLM refuse a config that is not JSON
        refuse_code(json.loads(config.read_text(encoding="utf-8")), config)
    return config, weights
