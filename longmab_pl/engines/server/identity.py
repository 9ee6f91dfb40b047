"""The check that a server has the policy's model."""

from __future__ import annotations

import os
from collections.abc import Sequence

from longmab_pl.engines.server.openai_api import ServedModel
from longmab_pl.errors import EngineError


def find_model(models: Sequence[ServedModel], model: str, served_model: str | None) -> ServedModel:
    """Return the policy's base model among a server's models.

    Args:
        models: the server's models, adapters included.
        model: the policy's model: a local folder or hub name.
        served_model: the server's name of the model, if the user gives one; then only this name is accepted.

    Raises:
        EngineError: the server does not have it.
    """
    bases = [each for each in models if each.parent is None]
    for each in bases:
        if served_model is not None:
            if each.name == served_model:
                return each
        elif same_model(model, each.name) or (each.root is not None and same_model(model, each.root)):
            return each
    names = ", ".join(each.name if each.root in (None, each.name) else f"{each.name} ({each.root})" for each in bases)
    wanted = f"engine.served_model is {served_model!r}" if served_model is not None else f"the policy is {model!r}"
    raise EngineError(
        f"it serves {names or 'no model'}, but {wanted}; start it with `vllm serve {model}`, or set "
        "engine.served_model to the name that it gives that same model"
    )


def same_model(one: str, other: str) -> bool:
    """Return whether two folders or hub names mean the same model: equal, the same folder, or a hub name and its folder
    in a hub cache (`models--owner--name/snapshots/...`)."""
    if one == other or (os.path.isdir(one) and os.path.isdir(other) and os.path.samefile(one, other)):
        return True
    return any(
        f"models--{name.replace('/', '--')}" in path.split(os.sep) for name, path in ((one, other), (other, one))
    )


def vocabulary_size(model: str) -> int:
    """Return the number of token ids of the model, from its config.

    Raises:
        EngineError: the config cannot be read.
    """
    from transformers import AutoConfig

    try:
        return int(AutoConfig.from_pretrained(model).get_text_config().vocab_size)
    except (OSError, ValueError) as error:
        raise EngineError(f"the config of the model {model!r} cannot be read: {error}") from error
