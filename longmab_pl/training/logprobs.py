"""Log-probabilities of completions: the output head runs at completion tokens of the packed sequence only."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.checkpoint import checkpoint

from longmab_pl.errors import ConfigError
from longmab_pl.shown import first_line
from longmab_pl.training import mixed_precision
from longmab_pl.training.attention import FLEX, allow_flex_variants, backbone_inputs, plain_options
from longmab_pl.training.batch import PackedBatch, PreferenceExample, collate
from longmab_pl.training.losses import PairLogps

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Layout = Literal["packed", "concatenated"]

PromptKind = Literal["long", "short"]
"""The training prompt, or the short one that the chosen completion was sampled from."""


@dataclass(frozen=True)
class PolicyLogps(PairLogps):
    """Log-probabilities of P pairs with the likelihood term.

    Args:
        chosen_nll: mean negative log-likelihood per token of each chosen completion, nats, float [P].
    """

    chosen_nll: torch.Tensor


def completion_logps(
    model: PreTrainedModel | PeftModel,
    batch: PackedBatch,
    chunk: int = 128,
    layout: Layout = "packed",
    ld_alpha: float = 1.0,
) -> PolicyLogps:
    """Return log-probabilities of every pair's chosen and rejected completion, given its prompt.

    Args:
        model: a causal language model, with or without PEFT adapters (as currently switched).
        batch: on the model's device.
        chunk: rows of hidden states that go through the output head at once; [chunk, vocabulary] is the largest logits
            tensor.
        layout: "packed" runs the sequence once; "concatenated" runs prompt + completion for each completion.
        ld_alpha: weight of a completion's tokens beyond the number in the pair's shorter one (LD-DPO,
            arXiv:2409.06411, its alpha); 1 counts all tokens equally.

    Raises:
        ConfigError: the architecture cannot take the layout (see `check_packing`).
    """
    return pair_logps(batch, token_logps(model, batch, chunk, layout), ld_alpha)


def pair_logps(
    batch: PackedBatch, logps: torch.Tensor, ld_alpha: float = 1.0, prompt: PromptKind = "long"
) -> PolicyLogps:
    """Sum the log-probabilities of a batch's completion tokens over each pair's two completions.

    Args:
        batch: batch of pairs.
        logps: log-probability of each completion token, nats, float [N], as `token_logps` returns it.
        ld_alpha: as in `completion_logps`.
        prompt: the completions after the training prompt (`long`), or those after the pairs' short prompts.
    """
    spans = list(batch.completion_lengths)
    per_completion = logps.masked_fill(batch.completion_mask == 0, 0).split(spans)
    counted = batch.completion_mask.split(spans)
    lengths = batch.counted_lengths()
    short = prompt == "short"
    chosen = list(batch.short_chosen if short else batch.chosen)
    rejected = list(batch.short_rejected if short else batch.rejected)
    sums = torch.stack([tokens.sum() for tokens in per_completion])
    if ld_alpha == 1.0:
        chosen_sums, rejected_sums = sums[chosen], sums[rejected]
    else:

        def desensitized(completion: int, common: torch.Tensor) -> torch.Tensor:
            excess = counted[completion].cumsum(0) > common
            return (per_completion[completion] * torch.where(excess, ld_alpha, 1.0)).sum()

        common = torch.minimum(lengths[chosen], lengths[rejected])
        chosen_sums = torch.stack([desensitized(c, n) for c, n in zip(chosen, common, strict=True)])
        rejected_sums = torch.stack([desensitized(r, n) for r, n in zip(rejected, common, strict=True)])
    return PolicyLogps(
        chosen=chosen_sums,
        rejected=rejected_sums,
        chosen_tokens=lengths[chosen],
        rejected_tokens=lengths[rejected],
        chosen_nll=-sums[chosen] / lengths[chosen],
    )


def chosen_logps(
    batch: PackedBatch, logps: torch.Tensor, prompt: PromptKind = "long"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed log-probability (nats) and the number of tokens of each chosen completion: float [P] each.

    Args:
        batch: batch of pairs, or of completions alone.
        logps: log-probability of each completion token, nats, float [N], as `token_logps` returns it.
        prompt: as in `pair_logps`.
    """
    parts = logps.masked_fill(batch.completion_mask == 0, 0).split(list(batch.completion_lengths))
    chosen = list(batch.short_chosen if prompt == "short" else batch.chosen)
    return torch.stack([parts[c].sum() for c in chosen]), batch.counted_lengths()[chosen]


def token_logps(
    model: PreTrainedModel | PeftModel, batch: PackedBatch, chunk: int = 128, layout: Layout = "packed"
) -> torch.Tensor:
    """Return the log-probability (nats, float32) of each completion token: [N], completion after completion."""
    causal = causal_model(model)
    if layout == "packed":
        hidden = _hidden(causal, **backbone_inputs(causal, batch))  # [T or more, H]
        hidden = hidden.index_select(0, batch.source_index)  # [N, H]
    else:
        completions, options = range(len(batch.completion_lengths)), plain_options(causal)
        hidden = torch.cat([_plain_hidden(causal, batch, c, options) for c in completions])
    return head_logps(causal, hidden, batch.target_ids, chunk)


def head_logps(causal: PreTrainedModel, hidden: torch.Tensor, targets: torch.Tensor, chunk: int = 128) -> torch.Tensor:
    """Return the log-probability (nats, float32) of `targets` [N] under the output head at hidden states [N, H]: [N].

    The head runs in its own dtype, the reduction in float32. While gradients are on, each chunk's logits are made again
    in the backward pass instead of being kept.
    """
    head = causal.get_output_embeddings()
    if head is None:
        raise ConfigError(f"{type(causal).__name__} has no output embeddings; use a causal language model")
    scale = _logit_transform(causal)

    def rows(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = scale(head(hidden)).float()  # [chunk, vocabulary]
        return logits.gather(-1, targets[:, None]).squeeze(-1) - logits.logsumexp(-1)

    parts = []
    for h, t in zip(hidden.split(chunk), targets.split(chunk), strict=True):
        parts.append(checkpoint(rows, h, t, use_reentrant=False) if torch.is_grad_enabled() else rows(h, t))
    return torch.cat(parts)


def text_logps(model: PreTrainedModel | PeftModel, ids: Sequence[int], chunk: int = 128) -> torch.Tensor:
    """Return the log-probability (nats, float32) of tokens 1..T-1 of a text, each given those before it: [T - 1]."""
    causal = causal_model(model)
    tokens = torch.tensor([list(ids)], device=causal.device)
    hidden = _hidden(causal, input_ids=tokens, use_cache=False, **plain_options(causal))
    return head_logps(causal, hidden[:-1], tokens[0, 1:], chunk)


def causal_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Return the Transformers model under a PEFT wrapper (adapters stay in place), or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def flex_failure(model: PreTrainedModel | PeftModel) -> str | None:
    """Return why FlexAttention's kernels fail for this model on this device, forward or backward; None if they run.

    Kernels are compiled for the current device, and some do not fit it (shared memory, head sizes). A short pair finds
    this before the first step does.
    """
    causal = causal_model(model)
    if causal.config._attn_implementation != FLEX:
        return None
    allow_flex_variants()
    pair = PreferenceExample("probe", tuple(range(1, 150)), tuple(range(1, 20)), tuple(range(2, 30)))
    try:
        with torch.no_grad():
            text_logps(model, range(1, 34))
        with torch.enable_grad():
            logps = token_logps(model, collate([pair]).to(causal.device))
            if logps.requires_grad:
                logps.sum().backward()
    except Exception as error:
        return first_line(error)
    finally:
        model.zero_grad()
    return None


@torch.no_grad()
def check_packing(model: PreTrainedModel | PeftModel) -> Layout:
    """Return the layout that this architecture computes exactly.

    Layouts are compared with the model's own logits on a short pair.

    Returns:
        "packed", or "concatenated" where the packed form differs (recurrent layers, attention that ignores the mask or
        the position ids, ...).

    Raises:
        ConfigError: the concatenated form differs too: the output head does something unsupported.
    """
    causal = causal_model(model)
    was_training = causal.training
    causal.eval()
    try:
        return _exact_layout(model, causal)
    finally:
        causal.train(was_training)


def _exact_layout(model: PreTrainedModel | PeftModel, causal: PreTrainedModel) -> Layout:
    vocabulary = causal.get_input_embeddings().weight.shape[0]
    draw = random.Random(0)
    prompt, chosen, rejected = (tuple(draw.randrange(vocabulary) for _ in range(n)) for n in (24, 9, 7))
    batch = collate([PreferenceExample("probe", prompt, chosen, rejected)]).to(causal.device)
    truth = []
    for ids in (chosen, rejected):
        tokens = torch.tensor([prompt + ids], device=causal.device)
        with mixed_precision.adapters_in_model_dtype(causal):
            logits = causal(input_ids=tokens, use_cache=False, **plain_options(causal)).logits[0].float()
        predicted = logits[len(prompt) - 1 : -1].log_softmax(-1)
        truth.append(predicted.gather(-1, torch.tensor(ids, device=causal.device)[:, None]).squeeze(-1))
    expected = torch.cat(truth)
    # bf16 logits of size 16 to 32 are 0.125 apart, so single tokens may differ by a few such steps.
    tolerance = 1e-3 if causal.dtype == torch.float32 else 0.5
    try:
        found = token_logps(model, batch, layout="packed")
        if (found - expected).abs().max() <= tolerance:
            return "packed"
    except (ConfigError, TypeError, ValueError, RuntimeError):
        pass  # An architecture that does not support the mask or the position ids raises its own error.
    found = token_logps(model, batch, layout="concatenated")
    difference = float((found - expected).abs().max())
    if difference <= tolerance:
        return "concatenated"
    raise ConfigError(
        f"the log-probabilities of {type(causal).__name__} differ from its own logits by {difference:.3g} nats; its "
        "output head has a step that longmab_pl.training.logprobs does not know: use another model family"
    )


def _plain_hidden(
    causal: PreTrainedModel, batch: PackedBatch, completion: int, options: dict[str, Any]
) -> torch.Tensor:
    """Return the hidden states that predict one completion, from its plain sequence: [C_len, H]."""
    index = batch.plain_sequence(completion)
    ids = batch.input_ids[:, index]
    hidden = _hidden(causal, input_ids=ids, use_cache=False, **options)  # [P_len + C_len, H]
    return hidden[-batch.completion_lengths[completion] - 1 : -1]


def _hidden(causal: PreTrainedModel, **inputs: Any) -> torch.Tensor:
    """Return the backbone's last hidden states for one sequence: [T, H]."""
    hidden: torch.Tensor = run_backbone(causal, **inputs).last_hidden_state[0]
    return hidden


def run_backbone(causal: PreTrainedModel, **inputs: Any) -> Any:
    """Return what the model's layers give, without its output head. Every forward pass of a policy goes this way.

    Raises:
        ConfigError: the architecture does not separate its layers from its output head.
    """
    with mixed_precision.adapters_in_model_dtype(causal):
        found = _backbone(causal)(**inputs)
    if mixed_precision.applies(causal):
        # Autocast computes LayerNorm in float32, so the last one's output is that; the head is not under autocast.
        found.last_hidden_state = found.last_hidden_state.to(causal.dtype)
    return found


def _backbone(causal: PreTrainedModel) -> Any:
    backbone = causal.base_model
    if backbone is causal:
        raise ConfigError(
            f"{type(causal).__name__} does not separate its layers from its output head; use another model family"
        )
    return backbone


def _logit_transform(causal: PreTrainedModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what the architecture does to the head's output: soft-capping (Gemma), division (Granite), scaling
    (Cohere), or nothing."""
    config = causal.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    divisor = getattr(config, "logits_scaling", None)
    factor = getattr(config, "logit_scale", None)
    if cap:
        return lambda logits: torch.tanh(logits / cap) * cap
    if divisor:
        return lambda logits: logits / divisor
    if factor:
        return lambda logits: logits * factor
    return lambda logits: logits
