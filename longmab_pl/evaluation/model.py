"""The model that `longmab evaluate` evaluates: its name in tables and files, its tokenizer, its engine."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.engines.protocol import Engine
from longmab_pl.errors import ConfigError
from longmab_pl.models.adapter_files import AdapterInfo, fitting_adapter
from longmab_pl.models.bundled import BUNDLED_PREFIX
from longmab_pl.models.hub import resolve_model
from longmab_pl.shown import first_line, shown, tell


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with or without an adapter.

    Args:
        name: the model as it was given.
        resolved: its folder or hub name.
        adapter: the adapter, checked to fit the model; None: none.
    """

    name: str
    resolved: str
    adapter: AdapterInfo | None

    @property
    def label(self) -> str:
        """The label in tables: the model's name and the adapter's with its digest."""
        name = model_name(self.name)
        if self.adapter is None:
            return name
        return f"{name} + {self.adapter.folder.resolve().name} {self.adapter.digest}"

    @property
    def file_name(self) -> str:
        """The label as part of a path."""
        return re.sub(r"[^\w.-]+", "-", self.label)

    @property
    def other_base(self) -> str:
        """A note that the adapter names another model as its base, or "" if it does not."""
        if self.adapter is None:
            return ""
        named = self.adapter.base_model
        if not named or Path(named).name == Path(self.resolved).name:
            return ""
        # The shapes fit, so it is not refused: folders are renamed. An instruct model's adapter fits its base, too.
        return (
            f"note: the adapter {self.adapter.folder} says that it was trained on {shown(named, 200)}, and "
            f"{self.name} is another model"
        )

    def identity(self, weight_format: str) -> str:
        """Return the key of the model's predictions, see `model_identity`."""
        return model_identity(self.name, self.adapter.digest if self.adapter else None, weight_format)


def evaluated_model(model: str, adapter: str | None) -> EvaluatedModel:
    """Find the model and check that the adapter fits; warn on stderr if the adapter names another model.

    Raises:
        ConfigError: there is no such model, or the adapter cannot be used with it.
    """
    resolved = resolve_model(model)
    info = None if adapter is None else fitting_adapter(adapter, resolved)
    found = EvaluatedModel(model, resolved, info)
    if found.other_base:
        tell(found.other_base)
    return found


def model_name(model: str) -> str:
    """Return a model's name without its folders."""
    path = Path(model).expanduser()
    return path.resolve().name if path.is_dir() else model.removeprefix(BUNDLED_PREFIX)


def model_identity(model: str, adapter: str | None, weight_format: str) -> str:
    """Return the key of a model's predictions, the same for an evaluation in a run and for `longmab evaluate`.

    Args:
        model: the model as it was given.
        adapter: `models.adapter_files.adapter_digest` of the adapter's folder; None: none, or one that changes nothing.
        weight_format: how the engine holds the weights (`Engine.weight_format`).

    Returns:
        Model name, adapter digest, weight format, and for a local model a digest of its weights.
    """
    return f"{model_name(model)} + {adapter or 'base'}, {weight_format}{_weights_digest(model)}"


def evaluation_tokenizer(model: str) -> Any:
    """Return the model's tokenizer, which may be a base model's without a chat template.

    Raises:
        ConfigError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise ConfigError(
            f"cannot load the tokenizer of {model!r}: {reason}; give a local model folder, a hub name that this "
            "machine can reach and may read, or bundled:smollm2-135m-instruct"
        ) from error


def vllm_engine(
    adapter: AdapterInfo | None,
    dtype: str,
    concurrency: int,
    max_model_len: int | None,
    kv_cache_gb: float,
    gpu_memory_utilization: float,
) -> Engine:
    """Return a vLLM engine in this process, not started yet, with room for the adapter's rank.

    Raises:
        ConfigError: a setting is out of range, or the rank is more than vLLM takes.
    """
    from longmab_pl.engines.vllm.engine import VLLMEngine
    from longmab_pl.engines.vllm_release import LORA_RANKS

    rank = adapter.rank if adapter is not None else 1
    allowed = next((allowed for allowed in LORA_RANKS if allowed >= rank), None)
    if allowed is None:
        raise ConfigError(
            f"the adapter's rank is {rank}, and vLLM takes {LORA_RANKS[-1]} at most; merge it into the model first"
        )
    return VLLMEngine(
        concurrency=concurrency,
        max_model_len=max_model_len,
        kv_cache_gb=kv_cache_gb,
        gpu_memory_utilization=gpu_memory_utilization,
        dtype=dtype,
        max_lora_rank=allowed,
    )


def _weights_digest(model: str) -> str:
    """Return ", " and a digest (8 digits) of a local folder's configuration and of samples of its weights."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".bin", ".json", ".jinja") and file.is_file():
            size = file.stat().st_size
            digest.update(f"{file.name} {size}\n".encode())
            with file.open("rb") as content:
                for part in range(64):
                    content.seek(part * size // 64)
                    digest.update(content.read(4096))
    return f", {digest.hexdigest()[:8]}"
