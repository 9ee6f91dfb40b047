"""Log-probabilities of completions with a sequence's tokens split among processes (`sequence_parallel`)."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import torch

from longmab_pl.errors import ConfigError
from longmab_pl.models.tokenizer import rope_of_length
from longmab_pl.training.attention import BLOCK, FLEX, SEGMENTS, backbone_inputs, padded
from longmab_pl.training.batch import PackedBatch, PreferenceExample, collate
from longmab_pl.training.logprobs import causal_model, head_logps, run_backbone, token_logps
from longmab_pl.training.sequence_parallel import SequenceGroup, SplitMask, over_heads, summed
from longmab_pl.training.split_limits import uneven_heads

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel


def split_token_logps(
    model: PreTrainedModel | PeftModel, batch: PackedBatch, group: SequenceGroup, chunk: int = 128
) -> torch.Tensor:
    """Return the log-probability (nats, float32) of each completion token, as `token_logps` does: [N].

    All processes of the group must call this with the same batch, and have the same result. Each computes the layers
    for its slice of the tokens, and the output head where these predict completion tokens.

    Args:
        model: a causal language model that `prepare_split` was called with.
        batch: on the model's device.
        group: the processes that share the tokens.
        chunk: as in `token_logps`.
    """
    causal = causal_model(model)
    hidden, own = split_hidden(causal, batch, group)
    # The hidden state that predicts a token may be in another slice than the token: targets are of the whole batch.
    here = (batch.source_index >= own.start) & (batch.source_index < own.stop)
    sources = hidden.index_select(0, batch.source_index[here] - own.start)
    found = head_logps(causal, sources, batch.target_ids[here], chunk)
    return summed(found.new_zeros(len(here)).masked_scatter(here, found), group)


def split_hidden(causal: PreTrainedModel, batch: PackedBatch, group: SequenceGroup) -> tuple[torch.Tensor, range]:
    """Return the last hidden states of this process's slice, [T / size, H], and its places in the padded sequence."""
    implementation = causal.config._attn_implementation
    batch = padded(batch, math.lcm(group.size, BLOCK) if implementation == FLEX else group.size)
    own = group.slice(batch.tokens)
    inputs = backbone_inputs(causal, batch)
    mask, device = inputs["attention_mask"], batch.input_ids.device
    inputs |= {
        "input_ids": batch.input_ids[:, own.start : own.stop],
        "position_ids": batch.position_ids[:, own.start : own.stop],
        "attention_mask": {kind: SplitMask.of(whole, group, device) for kind, whole in mask.items()}
        if isinstance(mask, dict)
        else SplitMask.of(mask, group, device),
    }
    return run_backbone(causal, **inputs).last_hidden_state[0], own


def refuse_unsplittable(model: str, processes: int) -> None:
    """Raise `ConfigError` if a model's sequences cannot be split: by its attention heads or rotary embeddings.

    Args:
        model: a local folder or a hub name; its config alone is read.
        processes: number of processes that share a sequence.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError):
        return  # loading it will say so
    _refuse(config, processes)


def unsplittable(config: PreTrainedConfig, processes: int) -> str | None:
    """Return why a model's sequences cannot be split among `processes` (2 or more), or None if they can."""
    if uneven := uneven_heads(processes, config.get_text_config().num_attention_heads):
        return uneven
    if kind := rope_of_length(config):
        return (
            f"model.sequence_parallel is {processes}, which computes a sequence in parts, and the model's rotary "
            f"embeddings ({kind}) depend on the whole length; use model.sequence_parallel: 1"
        )
    return None


def _refuse(config: PreTrainedConfig, processes: int) -> None:
    if why := unsplittable(config, processes):
        raise ConfigError(why)


def prepare_split(model: PreTrainedModel | PeftModel, group: SequenceGroup) -> None:
    """Let a model's attention take sequences that are split among processes; whole ones are computed as before.

    All processes of the group must call this. A short pair is computed by each process alone and by all together.

    Raises:
        ConfigError: the model's heads cannot be divided by the processes, its rotary embeddings depend on the length
            of a sequence, it uses an attention other than FlexAttention and SDPA by segments, or its split form is not
            exact.
    """
    from transformers import AttentionInterface
    from transformers.integrations.flex_attention import flex_attention_forward

    causal = causal_model(model)
    _refuse(causal.config, group.size)
    implementation = causal.config._attn_implementation
    if implementation not in (FLEX, SEGMENTS):
        raise ConfigError(
            f"model.sequence_parallel needs an attention that can compute a share of the heads, and this is "
            f"{implementation!r}; set model.attention to auto or sdpa, or model.sequence_parallel: 1"
        )
    if implementation == FLEX:
        AttentionInterface.register(FLEX, over_heads(flex_attention_forward))
    _check_exact(causal, group)


@torch.no_grad()
def _check_exact(causal: PreTrainedModel, group: SequenceGroup) -> None:
    """Raise `ConfigError` if the split form differs: attention that does not go through Transformers' interface, ..."""
    was_training = causal.training
    causal.eval()
    vocabulary = causal.get_input_embeddings().weight.shape[0]
    draw = random.Random(1)
    prompt, chosen, rejected = (tuple(draw.randrange(vocabulary) for _ in range(n)) for n in (8 * group.size, 9, 7))
    batch = collate([PreferenceExample("probe", prompt, chosen, rejected)]).to(causal.device)
    try:
        difference = float((split_token_logps(causal, batch, group) - token_logps(causal, batch)).abs().max())
    finally:
        causal.train(was_training)
    # As in `check_packing`: bf16 logits of size 16 to 32 are 0.125 apart.
    if difference > (1e-3 if causal.dtype == torch.float32 else 0.5):
        raise ConfigError(
            f"the log-probabilities of {type(causal).__name__} differ by {difference:.3g} nats when its tokens are "
            "split among processes; set model.sequence_parallel: 1"
        )
