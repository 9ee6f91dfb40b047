"""The reference of a policy: the base model, the adapter as the round or phase began, or another model."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

from longmab_pl.errors import ConfigError
from longmab_pl.models.hub import resolve_model
from longmab_pl.training.adapter import POLICY, REFERENCE
from longmab_pl.training.attention import Attention
from longmab_pl.training.policy import Precision, Quantization, load_base

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

FROZEN_COPIES = ("round_start", "phase_start")
"""Names of references that are a frozen copy of the adapter, as a round or a phase began."""

WITHIN_POLICY = ("base", *FROZEN_COPIES)
"""Names of references within the policy's own weights: the adapter off, or its frozen copy."""

_SAMPLED = 512
"""Numbers of each weight that a digest samples; any further training changes nearly all of them."""


def load_reference(
    name: str,
    policy: PeftModel,
    policy_model: str,
    quantization: Quantization = "none",
    dtype: Precision = "bf16",
    attention: Attention = "auto",
    device: torch.device | str = "cpu",
) -> PreTrainedModel:
    """Load a separate reference model, frozen and in eval mode, quantized as the policy is.

    Args:
        name: a local folder, a hub name, or a bundled model.
        policy: the policy that is compared with it.
        policy_model: the policy's base model, as `name`.
        quantization: as in `load_policy`.
        dtype: number format of weights and activations.
        attention: the implementation.
        device: device of the weights.

    Raises:
        ConfigError: it cannot be loaded, or it does not read the policy's tokens.
    """
    try:
        reference = load_base(resolve_model(name), quantization, dtype, attention, device)
    except ConfigError as error:
        raise ConfigError(
            f"model.reference is {name!r}, which is none of {', '.join(WITHIN_POLICY)}, and not a model either: {error}"
        ) from error
    ours, theirs = (_tokens(resolve_model(n)) for n in (policy_model, name))
    if ours is not None and theirs is not None and ours != theirs:
        raise ConfigError(
            f"model.reference {name!r} has another tokenizer than {policy_model!r}, so their log-probabilities cannot "
            "be compared; use a reference of the same model family"
        )
    size, needed = (m.get_input_embeddings().num_embeddings for m in (reference, policy.get_base_model()))
    if size < needed and (ours is None or size <= max(ours.values())):
        raise ConfigError(
            f"model.reference {name!r} knows {size} tokens, the policy {needed}; use a reference of the same model "
            "family"
        )
    return reference


def _tokens(model: str) -> dict[str, int] | None:
    """Return the id of every token, or None where there is no tokenizer."""
    from transformers import AutoTokenizer

    try:
        return dict(AutoTokenizer.from_pretrained(model).get_vocab())
    except (OSError, ValueError):
        return None


@torch.no_grad()
def reference_digest(policy: PeftModel, kind: str, separate: PreTrainedModel | None) -> str:
    """Return a digest (16 hexadecimal digits) of the reference's weights.

    The digest of an adapter reads every number, that of a whole model a sample of every weight.

    Args:
        policy: holds the reference unless the reference is a model of its own.
        kind: the reference's setting.
        separate: the reference model if it is one of its own.
    """
    h = hashlib.blake2b(digest_size=8)
    model = policy if separate is None else separate
    for name, parameter in sorted(model.named_parameters()):
        is_reference = f".{REFERENCE}." in name
        if f".{POLICY}." in name or (is_reference and kind not in FROZEN_COPIES):
            continue
        # For DTensors (FSDP) this rank's share is read, for NF4 weights their packed bytes.
        local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
        values = local.detach().as_subclass(torch.Tensor).flatten()
        if not is_reference:
            values = values[:: max(1, values.numel() // _SAMPLED)]
        h.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        h.update(values.to("cpu", torch.float32).numpy().tobytes())
    return h.hexdigest()
