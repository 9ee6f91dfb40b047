"""Float32 adapters on a bfloat16 model: on a GPU they compute in bfloat16, and only their weights stay float32.

PEFT computes an adapter in the adapter's own dtype. For a float32 adapter it so copies every linear layer's input and
output to float32, which for an 8B model on an H100 takes a quarter of a DPO step.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def applies(causal: PreTrainedModel) -> bool:
    """Return whether adapters of this model compute in its dtype: on a GPU, unless that is float32."""
    return causal.device.type == "cuda" and causal.dtype != torch.float32


def leave_inputs_as_they_are(policy: PeftModel) -> None:
    """Keep PEFT from copying the adapters' inputs to float32; call it after the adapters are added."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in policy.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.cast_input_dtype_enabled = False


def adapters_in_model_dtype(causal: PreTrainedModel) -> AbstractContextManager[object]:
    """Return the context in which the model is called.

    Casts of weights are not cached: every weight is used once in a pass, and a cast made without gradients must not
    serve a pass with gradients.
    """
    if not applies(causal):
        return nullcontext()
    return torch.autocast(causal.device.type, dtype=causal.dtype, cache_enabled=False)
