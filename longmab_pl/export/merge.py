"""Merges of an adapter into its base model, and how much of the adapter the number format keeps.

A bf16 weight has 8 significant bits, so a change smaller than about 1/512 of the weight is lost in rounding. An adapter
after few steps may lose most of its effect in a merge. Therefore every layer is merged in float32 and rounded once, and
the rounded model is measured against the adapter on texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from longmab_pl.errors import ConfigError
from longmab_pl.shown import first_line
from longmab_pl.training.adapter import POLICY
from longmab_pl.training.logprobs import causal_model, head_logps

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

MergedDtype = Literal["bfloat16", "float16", "float32"]


@dataclass(frozen=True)
class MergeFidelity:
    """How much of an adapter's effect a merge keeps, measured on texts.

    With a the adapter's change of the tokens' log-probabilities (nats, one number a token) and m the merged model's,
    both against the base model and all computed in float32: `share` is a·m / a·a, `error` is |m - a| / |a|.

    Args:
        share: 1 when all of the change is kept, 0 when none is.
        error: size of the deviation relative to the change; 0 for an exact merge.
        change: the adapter's root mean square change per token, in nats.
        texts: number of texts measured on.
        tokens: number of their tokens.
    """

    share: float
    error: float
    change: float
    texts: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.share:.0%} of the adapter's change, error {self.error:.0%} of it ({self.tokens:,} tokens)"


def load_plain(model: str, adapter: Path) -> PeftModel:
    """Load the base model in the number format of its files, with an adapter folder on it.

    Args:
        model: folder or hub name of the unquantized base model.
        adapter: a PEFT folder.

    Raises:
        ConfigError: the base cannot be loaded, is quantized, or does not fit the adapter.
    """
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        if getattr(AutoConfig.from_pretrained(model), "quantization_config", None):
            raise ConfigError(
                f"the base model {model!r} is quantized, and an adapter is never merged into quantized weights; give "
                "the original weights with --base_model"
            )
        base = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
        policy: PeftModel = PeftModel.from_pretrained(base, str(adapter), adapter_name=POLICY)
    except (OSError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise ConfigError(
            f"cannot put the adapter {adapter} on {model!r}: {reason}; give the base model that it was trained on with "
            "--base_model"
        ) from error
    return policy.eval()


def merge(
    policy: PeftModel, dtype: MergedDtype, texts: Sequence[Sequence[int]]
) -> tuple[PreTrainedModel, MergeFidelity]:
    """Add the adapter to the weights, layer by layer in float32, and round once; the policy cannot be used afterwards.

    Never more than one layer is in float32 at a time (unless `dtype` is).

    Args:
        policy: as `load_plain` returns it.
        dtype: number format of the merged weights.
        texts: token ids, at least two each, to measure on.

    Raises:
        ConfigError: a layer's weight is shared with another part of the model, which a merge would change too.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in policy.modules() if isinstance(module, BaseTunerLayer)]
    _refuse_shared(policy, [layer.get_base_layer().weight for layer in layers])
    with _float32_arithmetic(policy):
        adapted = _logps(policy, texts)
        with policy.disable_adapter():
            plain = _logps(policy, texts)
    target = getattr(torch, dtype)
    for layer in layers:
        weight = layer.get_base_layer().weight
        weight.data = weight.data.float()
        layer.merge(adapter_names=[POLICY])  # PEFT's own, for rsLoRA and DoRA too
        weight.data = weight.data.to(target)
    merged: PreTrainedModel = policy.unload()
    for parameter in merged.parameters():
        parameter.data = parameter.data.to(target)
    merged.config.dtype = target
    with _float32_arithmetic(merged):
        found = _logps(merged, texts)
    wanted, got = adapted - plain, found - plain
    size = float(wanted.norm())
    return merged, MergeFidelity(
        share=float(wanted @ got) / size**2 if size else 1.0,
        error=float((got - wanted).norm()) / size if size else 0.0,
        change=size / len(wanted) ** 0.5,
        texts=len(texts),
        tokens=sum(map(len, texts)),
    )


def _refuse_shared(policy: PeftModel, adapted: Sequence[torch.Tensor]) -> None:
    owners: dict[int, int] = {}
    for module in policy.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    if any(owners[id(weight)] > 1 for weight in adapted):
        raise ConfigError(
            "the adapter changes a weight that the model uses in two places (tied embeddings), so it cannot be merged; "
            "leave the output head out of model.lora.target_modules, or export without --merge"
        )


@torch.no_grad()
def _logps(model: PreTrainedModel | PeftModel, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the log-probabilities (nats) of all tokens but the first of each text, one text after the other."""
    causal = causal_model(model)
    parts = []
    for text in texts:
        ids = torch.tensor([list(text)])
        hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]  # [T, H]
        parts.append(head_logps(causal, hidden[:-1], ids[0, 1:]))
    return torch.cat(parts)


@contextmanager
def _float32_arithmetic(model: torch.nn.Module) -> Iterator[None]:
    """Let every module compute in float32, in whatever format its weights are stored.

    bf16 arithmetic alone changes log-probabilities more than an adapter after few steps does. Weights are converted
    only while their module runs, which takes little memory.
    """
    stored: dict[torch.nn.Module, list[tuple[torch.nn.Parameter, torch.Tensor]]] = {}

    def widen(module: torch.nn.Module, _: object) -> None:
        own = [p for p in module.parameters(recurse=False) if p.dtype in (torch.bfloat16, torch.float16)]
        stored[module] = [(p, p.data) for p in own]
        for p in own:
            p.data = p.data.float()

    def narrow(module: torch.nn.Module, *_: object) -> None:
        for parameter, data in stored.pop(module):
            parameter.data = data

    handles = []
    for module in model.modules():
        if next(module.parameters(recurse=False), None) is not None:
            handles.append(module.register_forward_pre_hook(widen))
            handles.append(module.register_forward_hook(narrow, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
