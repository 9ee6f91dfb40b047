"""Names of models: a `bundled:` name is resolved to a local folder; other names are folders or hub names.

The bundled models are installed as Python packages, so that a first run needs no model hub. The language model is a
quantized GGUF file there. vLLM and PEFT need a Transformers folder, so it is converted once and cached.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from longmab_pl.errors import ConfigError
from longmab_pl.models.bundled import (
    _MINILM_INSTALL,
    _MINILM_PACKAGE,
    BUNDLED_EMBEDDERS,
    BUNDLED_MODELS,
    BUNDLED_PREFIX,
    _converted_smollm2,
    _file_in_package,
)

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig


def nf4_config(compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return the quantization config for 4-bit NormalFloat with double quantization (QLoRA, arXiv:2305.14314)."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def resolve_model(name: str) -> str:
    """Return the folder or hub name that Transformers, PEFT and vLLM load for `name`.

    Args:
        name: "bundled:smollm2-135m-instruct" (converted on first use into the cache folder), a local folder, or a
            hub name, which is returned unchanged.

    Raises:
        ConfigError: an unknown bundled name, a missing package, or a path with no model in it.
    """
    if name in BUNDLED_MODELS:
        return str(_converted_smollm2())
    return usable_name(name)


def resolve_embedder(name: str) -> str:
    """Return the folder or hub name of an embedder, given "bundled:minilm", a local folder, or a hub name.

    Raises:
        ConfigError: as for `resolve_model`.
    """
    if name in BUNDLED_EMBEDDERS:
        return str(_file_in_package(_MINILM_PACKAGE, "model", name, _MINILM_INSTALL))
    return usable_name(name, BUNDLED_EMBEDDERS, "embedder")


def usable_name(name: str, bundled: Iterable[str] = BUNDLED_MODELS, kind: str = "model") -> str:
    """Return a folder or hub name, checked for mistakes.

    Args:
        name: a local folder or a hub name.
        bundled: bundled names that the message lists.
        kind: kind of object, for the message.

    Raises:
        ConfigError: there is no such bundled model, no such folder, or no config.json in it. (The hub would report
            such a path as an invalid name.)
    """
    names = list(bundled)
    if name.startswith(BUNDLED_PREFIX):
        tails = {bundled_name.removeprefix(BUNDLED_PREFIX): bundled_name for bundled_name in names}
        close = difflib.get_close_matches(name.removeprefix(BUNDLED_PREFIX), tails, n=1, cutoff=0.5)
        meant = f"did you mean {tails[close[0]]!r}?" if close else f"the bundled ones are: {', '.join(names)}"
        raise ConfigError(f"there is no bundled {kind} {name!r}; {meant}")
    if not name.strip():
        raise ConfigError(f"the {kind}'s name is empty; use a local folder, a hub name, or one of: {', '.join(names)}")
    path = Path(name).expanduser()
    if path.is_dir():
        if not any((path / file).is_file() for file in ("config.json", "modules.json")):
            raise ConfigError(f"the folder {name!r} holds no {kind}: there is no config.json in it")
        return str(path)
    if path.is_file():
        raise ConfigError(f"the {kind} {name!r} is a file; give the folder that holds config.json and the weights")
    # A hub name is "owner/name" or "name"; anything else that does not exist is a mistyped path.
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or "\\" in name:
        raise ConfigError(
            f"the {kind} folder {name!r} does not exist; check the path (relative to {os.getcwd()}), "
            f"or use a hub name or one of: {', '.join(names)}"
        )
    return name
