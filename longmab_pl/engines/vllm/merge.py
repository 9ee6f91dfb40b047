"""Merging of a PEFT adapter folder into its base model's weights."""

from __future__ import annotations

from pathlib import Path

import torch

from longmab_pl.errors import EngineError


def merged_weights(model: str, adapter: Path, dtype: str) -> dict[str, torch.Tensor]:
    """Return the base model's state dict with the adapter merged, computed in float32 and rounded once to `dtype`.

    Args:
        model: folder or hub name of the base model.
        adapter: a PEFT adapter folder.
        dtype: torch's name of a floating-point type, e.g. "bfloat16".

    Raises:
        EngineError: the adapter does not fit the model, or the model's weights are quantized.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    target = getattr(torch, {"half": "float16", "float": "float32"}.get(dtype, dtype), None)
    if not isinstance(target, torch.dtype):
        raise EngineError(f"engine.dtype {dtype!r} cannot be used with adapter_sync: merge; name it, e.g. bfloat16")
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        if getattr(base.config, "quantization_config", None) is not None:
            raise EngineError(f"{model!r} has quantized weights, into which an adapter is never merged")
        merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise EngineError(f"the adapter {adapter} does not fit the model {model!r}: {error}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    return {name: tensor.to(target) for name, tensor in merged.state_dict().items()}
