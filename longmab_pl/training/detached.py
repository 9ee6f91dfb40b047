"""Log-probabilities whose gradient leaves the prompt out: its keys and values are computed once, without a graph.

A gradient flows through the completions (and the prompt's last token, which predicts their first) alone, as if the
prompt's keys and values were constants. The log-probabilities are those of the exact form; the gradient is not: it
lacks how the adapter changes what is read into the prompt's states. Memory for activations no longer grows with the
prompt, of which only keys and values remain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache, GradientCheckpointingLayer

from longmab_pl.errors import ConfigError
from longmab_pl.models.tokenizer import rope_of_length
from longmab_pl.training.attention import SEGMENTS
from longmab_pl.training.batch import PackedBatch
from longmab_pl.training.logprobs import causal_model, head_logps, run_backbone

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class _PromptStates(DynamicCache):
    """The keys and values of a prompt, read only once it is `complete`: a recomputed layer finds the same."""

    complete = False

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.complete:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        if layer_idx >= len(self.layers):  # a prompt of one token has no states
            return key_states, value_states
        stored = self.layers[layer_idx]
        return torch.cat([stored.keys, key_states], dim=2), torch.cat([stored.values, value_states], dim=2)


def check_detached(causal: PreTrainedModel) -> None:
    """Raise an error for a model whose prompt cannot be detached.

    Raises:
        ConfigError: sliding windows or other kinds of layers, rotary embeddings that depend on the length of a text,
            or an attention without dense masks.
    """
    config = causal.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    windowed = not kinds and getattr(config, "sliding_window", None) is not None
    if kinds - {"full_attention"} or windowed:
        raise ConfigError(
            f"model.prompt_gradient is detached, which needs full attention in all layers, and {type(causal).__name__} "
            "has others; use exact"
        )
    if kind := rope_of_length(config):
        raise ConfigError(
            f"model.prompt_gradient is detached, which computes a prompt in pieces, and the model's rotary embeddings "
            f"({kind}) depend on the whole length; use exact"
        )
    if causal.config._attn_implementation not in (SEGMENTS, "sdpa", "eager"):
        raise ConfigError(
            f"model.prompt_gradient is detached, which cannot use attention {causal.config._attn_implementation!r}; "
            "set model.attention to sdpa"
        )


def detached_token_logps(
    model: PreTrainedModel | PeftModel, batch: PackedBatch, chunk: int = 128, piece: int = 2048
) -> torch.Tensor:
    """Return the log-probability (nats, float32) of each completion token, without a gradient through the prompts: [N].

    Each tree's root, the prompt that all its texts share, is detached; what continues it (completions, and the prompts
    of nested pairs) is computed with gradients.

    Args:
        model: a causal language model that passed `check_detached`.
        batch: on the model's device.
        chunk: as in `token_logps`.
        piece: tokens of the prompt that are computed at once.
    """
    causal = causal_model(model)
    for layer in causal.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer._can_checkpoint_with_cache = True  # `_PromptStates` is only read
    hidden: list[torch.Tensor] = []
    place = torch.zeros(batch.tokens, dtype=torch.long, device=batch.input_ids.device)
    for tree in batch.trees():
        root = batch.stretches[tree[0]].rows
        rows = torch.arange(root.stop - 1, batch.stretches[tree[-1]].rows.stop, device=place.device)
        columns = torch.arange(root.start, int(rows[-1]) + 1, device=place.device)
        place[rows] = torch.arange(len(rows), device=place.device) + sum(len(part) for part in hidden)
        found = run_backbone(
            causal,
            input_ids=batch.input_ids[:, rows],
            position_ids=batch.position_ids[:, rows],
            attention_mask=_mask(causal, batch.visible(rows[:, None], columns[None, :])[None, None]),
            past_key_values=_prompt_states(causal, batch.input_ids[:, root.start : root.stop - 1], piece),
            use_cache=False,
        )
        hidden.append(found.last_hidden_state[0])
    return head_logps(causal, torch.cat(hidden)[place[batch.source_index]], batch.target_ids, chunk)


@torch.no_grad()
def _prompt_states(causal: PreTrainedModel, ids: torch.Tensor, piece: int) -> _PromptStates:
    """Return the keys and values of a prompt (long [1, P], possibly empty), computed in pieces, without dropout."""
    states = _PromptStates()
    training = causal.training
    causal.eval()  # under gradient checkpointing, layers in training would not store them
    try:
        for start in range(0, ids.shape[1], piece):
            run_backbone(causal, input_ids=ids[:, start : start + piece], past_key_values=states, use_cache=True)
    finally:
        causal.train(training)
    states.complete = True
    return states


def _mask(causal: PreTrainedModel, allowed: torch.Tensor) -> torch.Tensor:
    """Return the mask (bool [1, 1, rows, columns], True: attends) as this attention takes it."""
    if causal.config._attn_implementation != "eager":
        return allowed
    blocked = torch.finfo(causal.dtype).min
    return torch.zeros(allowed.shape, dtype=causal.dtype, device=allowed.device).masked_fill_(~allowed, blocked)
