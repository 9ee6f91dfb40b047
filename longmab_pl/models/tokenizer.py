"""Tokenizers, and the context limits of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from longmab_pl.errors import ConfigError
from longmab_pl.models.hub import usable_name
from longmab_pl.shown import first_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def load_tokenizer(model: str, *, needs_chat: bool = True, kind: str | None = None) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer; a missing pad token is replaced by the end-of-sequence token.

    Args:
        model: a Transformers folder or a hub name.
        needs_chat: whether a chat template is required; False for plain-text prompts and base models.
        kind: name of the class that `AutoTokenizer` chose for this model before. It is then loaded without
            `AutoTokenizer`, whose import takes five seconds because it imports torch.

    Raises:
        ConfigError: there is no tokenizer, or it lacks an end-of-sequence token or a required chat template.
    """
    usable_name(model)
    chosen = _tokenizer_class(kind)
    try:
        tokenizer = chosen.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise cannot_load("tokenizer of", model, error) from error
    if needs_chat:
        check_chat_template(tokenizer)
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"the tokenizer of {model!r} has no end-of-sequence token; set eos_token in its tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _tokenizer_class(name: str | None) -> Any:
    """Return the class of Transformers with this name if it is a tokenizer's, and `AutoTokenizer` otherwise."""
    import transformers

    if name is not None and name.endswith(("Tokenizer", "TokenizerFast", "TokenizersBackend")):
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedTokenizerBase):
            return found
    return transformers.AutoTokenizer


def check_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `ConfigError` for a tokenizer without a chat template."""
    if not tokenizer.chat_template:
        raise ConfigError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, so prompts and answers cannot be told "
            "apart; use an instruct/chat model, or put a chat_template.jinja beside its tokenizer.json"
        )


def context_limit(model: str) -> int | None:
    """Return a model's maximum length in tokens (prompt and answer), or None if its config does not give one.

    Raises:
        ConfigError: the model cannot be found.
    """
    from transformers import AutoConfig

    usable_name(model)
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise cannot_load("config of", model, error) from error
    return position_limit(config)


def position_limit(config: PretrainedConfig) -> int | None:
    """Return the maximum number of positions, with scaled rotary embeddings, or None if the config gives none.

    As in vLLM: linear and dynamic scaling multiply `max_position_embeddings`. For llama3, YaRN and LongRoPE that value
    is already the scaled length.

    Example:
        >>> from transformers import LlamaConfig
        >>> rope = {"rope_type": "linear", "factor": 8.0, "rope_theta": 10000.0}
        >>> position_limit(LlamaConfig(max_position_embeddings=256, rope_parameters=rope))
        2048
    """
    settings = config.get_text_config().to_dict()
    limit = settings.get("max_position_embeddings") or settings.get("n_positions")
    if not limit:
        return None
    if "gemma3" in str(settings.get("model_type")):  # its limit is already the scaled one
        return int(limit)
    factors = [f for rope in _rope_settings(settings) if (f := _position_factor(rope)) is not None]
    return int(limit * (factors[-1] if factors else 1))


def rope_of_length(config: PretrainedConfig) -> str | None:
    """Return the type of rotary embeddings whose frequencies depend on the longest position of a call (LongRoPE,
    dynamic NTK), or None if the model has none.

    A sequence that is computed in parts would have other frequencies in each.

    Example:
        >>> from transformers import LlamaConfig
        >>> rope = {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 10000.0}
        >>> rope_of_length(LlamaConfig(rope_parameters=rope))
        'dynamic'
    """
    for rope in _rope_settings(config.get_text_config().to_dict()):
        kind = str(rope.get("rope_type") or rope.get("type") or "default")
        if kind in ("longrope", "su") or "dynamic" in kind:
            return kind
    return None


_SCALED_ALREADY = ("default", "llama3", "yarn", "longrope", "su", "deepseek_yarn", "deepseek_llama_scaling")
"""Types of rotary embeddings for which `max_position_embeddings` is already the limit."""


def _rope_settings(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the settings of the rotary embeddings: one mapping, or one per kind of layer (`rope_scaling` before
    Transformers 5)."""
    rope = settings.get("rope_parameters") or settings.get("rope_scaling")
    if not isinstance(rope, Mapping):
        return []
    by_layer = [value for value in rope.values() if isinstance(value, Mapping)]
    return by_layer or [rope]


def _position_factor(rope: Mapping[str, Any]) -> float | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    factor = rope.get("factor")
    return None if kind in _SCALED_ALREADY or factor is None else float(factor)


def cannot_load(what: str, model: str, error: Exception) -> ConfigError:
    """Return the error for a model that Transformers cannot load, with the first line of the reason."""
    return ConfigError(
        f"cannot load {what} {model!r}: {first_line(error).rstrip('.')} -- give a local model folder, a hub name that "
        'this machine can reach and may read, or "bundled:smollm2-135m-instruct"'
    )
