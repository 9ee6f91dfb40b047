"""Loading of the policy (base model + LoRA, optionally NF4-quantized) and its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from longmab_pl.checks import at_least, positive, unit_interval
from longmab_pl.errors import ConfigError
from longmab_pl.models.hub import nf4_config, usable_name
from longmab_pl.models.tokenizer import cannot_load
from longmab_pl.training import mixed_precision
from longmab_pl.training.attention import Attention, choose_attention, use_segments

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

Quantization = Literal["none", "nf4"]
Precision = Literal["bf16", "fp32"]

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class LoRASettings:
    """The low-rank adapter (LoRA, arXiv:2106.09685). The defaults are the LongMab-PO authors' (rank 8, alpha 16, all
    linear layers).

    Args:
        r: rank of the update B·A.
        alpha: the update is scaled by alpha / r (alpha / sqrt(r) with `rslora`).
        dropout: on the adapter's input, while training; the reference never sees it.
        target_modules: "all-linear" (every linear layer but the output head), one regular expression, or a list of
            module names.
        rslora: rank-stabilized scaling (arXiv:2312.03732).
        dora: weight-decomposed adapters (arXiv:2402.09353); vLLM does not serve them without a merge.
    """

    r: int = 8
    alpha: int = 16
    dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"
    rslora: bool = False
    dora: bool = False

    def __post_init__(self) -> None:
        at_least("lora.r", self.r, 1, "the rank must be at least 1")
        positive("lora.alpha", self.alpha)
        unit_interval("lora.dropout", self.dropout, one=False)
        if not self.target_modules:
            raise ConfigError('lora.target_modules is empty; use "all-linear" or name at least one module')

    def to_peft(self) -> LoraConfig:
        """Return the same settings as PEFT's own config."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.target_modules if isinstance(self.target_modules, str) else list(self.target_modules),
            use_rslora=self.rslora,
            use_dora=self.dora,
            bias="none",
            task_type="CAUSAL_LM",
        )


def load_base(
    model: str,
    quantization: Quantization = "none",
    dtype: Precision = "bf16",
    attention: Attention = "auto",
    device: torch.device | str = "cpu",
) -> PreTrainedModel:
    """Load a causal language model and freeze it; the arguments are those of `load_policy`.

    Returns:
        The model in eval mode.

    Raises:
        ConfigError: the model cannot be found, read or loaded completely.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    options: dict[str, Any] = {}
    if quantization == "nf4":
        options["quantization_config"] = nf4_config(_DTYPES[dtype])
    usable_name(model)

    def attempt(implementation: str) -> tuple[PreTrainedModel, dict[str, Any]]:
        return AutoModelForCausalLM.from_pretrained(
            model,
            dtype=_DTYPES[dtype],
            attn_implementation=implementation,
            device_map={"": str(device)},
            output_loading_info=True,
            **options,
        )

    try:
        implementations = choose_attention(attention, AutoConfig.from_pretrained(model), device)
        for implementation in implementations:
            try:
                base, info = attempt(implementation)
                break
            except (ValueError, ImportError):
                # Transformers refuses an implementation that the architecture does not support before it reads weights.
                if implementation == implementations[-1]:
                    raise
    except (OSError, ValueError, ImportError) as error:
        raise cannot_load("model", model, error) from error
    incomplete = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in info.get(kind) or ())
    if incomplete:
        # Transformers fills such weights with random numbers and only warns.
        raise ConfigError(
            f"model {model!r} lacks or misshapes {len(incomplete)} weights, the first of them {incomplete[0]}; "
            "the folder's config.json and its weight files do not belong together: download or convert the model again"
        )
    if implementation == "sdpa":
        use_segments(base)
    if quantization == "nf4":
        _keep_differentiable(base)
    base.config.use_cache = False
    return base.requires_grad_(False).eval()


def _keep_differentiable(base: PreTrainedModel) -> None:
    """Keep bitsandbytes from packing 4-bit weights for a CPU with bf16 instructions.

    It packs them at the first pass in eval mode, for a kernel without a backward pass, and uses that kernel in training
    too: gradients would not reach the layers below.
    """
    from bitsandbytes.nn import Linear4bit

    for layer in base.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False


def _refuse_embeddings(policy: PeftModel, embeddings: torch.nn.Module, head: torch.nn.Module | None) -> None:
    """Raise an error for adapters on layers where a merge, or an engine, would compute another model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [layer.get_base_layer() for layer in policy.modules() if isinstance(layer, BaseTunerLayer)]
    if any(layer is embeddings for layer in adapted):
        raise ConfigError(
            "model.lora.target_modules names the embeddings, where no engine serves an adapter; name linear layers, "
            'or use "all-linear"'
        )
    if head is not None and head.weight is embeddings.weight and any(layer is head for layer in adapted):
        raise ConfigError(
            "model.lora.target_modules names the output head, whose weight this model uses for its embeddings too, so "
            'a merge would change both; leave it out, or use "all-linear"'
        )


def load_policy(
    model: str,
    lora: LoRASettings | None = None,
    quantization: Quantization = "none",
    dtype: Precision = "bf16",
    attention: Attention = "auto",
    gradient_checkpointing: bool = True,
    device: torch.device | str = "cpu",
) -> PeftModel:
    """Load a causal language model, freeze it and add a new LoRA adapter.

    The base stays in `dtype` (NF4 blocks with double quantization when `quantization` is "nf4", computing in `dtype`);
    the adapter's weights are float32 (on a GPU it computes in `dtype`, see `longmab_pl.training.mixed_precision`).
    PEFT's `prepare_model_for_kbit_training` is not used: it would upcast the embeddings, the output head and the norms
    to float32 (4 GB more for an 8B model with a 128k vocabulary), while all else that it does (freezing, checkpointing)
    is done here.

    Args:
        model: a local folder or a hub name.
        lora: the adapter; None is `LoRASettings()`.
        quantization: "nf4" as in QLoRA (arXiv:2305.14314); works on GPU and CPU. A quantized base is never merged.
        dtype: number format of the base model's weights and activations.
        attention: the implementation, see `longmab_pl.training.attention`; "auto": "flex" on CUDA, "sdpa" elsewhere.
        gradient_checkpointing: recompute each layer in the backward pass.
        device: device of the weights.

    Returns:
        The policy in train mode; only the adapter called "default" requires gradients.

    Raises:
        ConfigError: the model cannot be found, read or loaded completely, the adapter fits none of its layers, or it
            is on the embeddings.
    """
    from peft import get_peft_model

    lora = lora or LoRASettings()
    base = load_base(model, quantization, dtype, attention, device)
    embeddings, head = base.get_input_embeddings(), base.get_output_embeddings()
    try:
        policy = get_peft_model(base, lora.to_peft())
    except ValueError as error:
        raise ConfigError(f"the adapter does not fit model {model!r}: {error} Change lora.target_modules.") from error
    _refuse_embeddings(policy, embeddings, head)
    if mixed_precision.applies(base):
        mixed_precision.leave_inputs_as_they_are(policy)
    if gradient_checkpointing:
        # Non-reentrant recomputation needs no input that requires gradients, unlike the older kind.
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # Transformers loads in eval mode, where gradient checkpointing and adapter dropout are off.
    return policy.train()
