"""Tokenizers, and how many tokens a model takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from longmab_pl.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Load the model's tokenizer; a missing pad token falls back to the end-of-sequence token.

    Raises:
        ConfigError: no tokenizer there, or it has no chat template or no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    _refuse_missing_folder(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise _cannot_load("tokenizer of", model, error) from error
    if not tokenizer.chat_template:
        raise ConfigError(
            f"the tokenizer of {model!r} has no chat template, so prompts and answers cannot be told apart; use an "
            "instruct/chat model, or put a chat_template.jinja beside its tokenizer.json"
        )
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"the tokenizer of {model!r} has no end-of-sequence token; set eos_token in its tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_limit(model: str) -> int | None:
    """Most tokens (prompt and answer) that the model's positions reach, or None if its config does not say.

    Raises:
        ConfigError: the model cannot be found.
    """
    from transformers import AutoConfig

    _refuse_missing_folder(model)
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise _cannot_load("config of", model, error) from error
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else None


def _refuse_missing_folder(model: str) -> None:
    # A path that is not there would otherwise be taken for a hub name, and answered with an error about names.
    path = Path(model).expanduser()
    looks_local = model.startswith((".", "/", "~")) or model.count("/") > 1
    if looks_local and not path.is_dir():
        raise ConfigError(f"model {model!r} is not a folder; check model.model (a local folder or a hub name)")
    if path.is_dir() and not (path / "config.json").is_file():
        raise ConfigError(
            f"model folder {model!r} has no config.json; point model.model at a Transformers model folder"
        )


def _cannot_load(what: str, model: str, error: Exception) -> ConfigError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ConfigError(
        f"cannot load {what} {model!r}: {reason} -- give a local model folder, a hub name that this machine can reach "
        'and may read, or "bundled:smollm2-135m-instruct"'
    )
