"""Attention over packed sequences: the same visibility (`PackedBatch.visible`) for three implementations.

- "flex": FlexAttention with a block mask (CUDA). Unseen blocks are skipped, so its cost is that of the plain
  sequences without the repeated prompts.
- "sdpa": `scaled_dot_product_attention`, called once for each prompt (causal, no mask: the fast kernels) and once for
  its completions (a mask of their rows only). No T x T mask is ever made. Works everywhere, GPUs included.
- "eager": the model's own, with a dense T x T mask: slow, for debugging and for architectures without the others.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F

from longmab_pl.errors import ConfigError
from longmab_pl.training.batch import PackedBatch, Stretch
from longmab_pl.training.sequence_parallel import over_heads

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask
    from transformers import PreTrainedConfig, PreTrainedModel

Attention = Literal["auto", "flex", "sdpa", "eager"]

SEGMENTS = "longmab_segments"
"""Transformers' registered name of `segment_attention`."""

FLEX = "flex_attention"
"""Transformers' own name of FlexAttention."""

BLOCK = 128
"""Side of FlexAttention's mask blocks; sequences are padded to a multiple of it."""

# Layer kinds whose attention a mask fully describes; recurrent and chunked ones need the plain sequence.
_MASKABLE_LAYERS = {"full_attention", "sliding_attention"}


def choose_attention(setting: Attention, config: PreTrainedConfig, device: torch.device | str) -> list[str]:
    """Return Transformers' names of the implementations to try, best first.

    "auto" is flex on CUDA and sdpa elsewhere, or eager where the model caps its attention scores (Gemma 2), which SDPA
    cannot do.

    Raises:
        ConfigError: the setting is not available on this device or for this model.
    """
    text = config.get_text_config()
    capped = getattr(text, "attn_logit_softcapping", None) is not None
    dropout = getattr(text, "attention_dropout", None)
    cuda = torch.device(device).type == "cuda"
    if setting == "flex" and not cuda:
        raise ConfigError(
            f"model.attention is flex, but FlexAttention has no backward pass on {torch.device(device).type}; use auto "
            "or sdpa"
        )
    if setting == "flex" and dropout:
        raise ConfigError("model.attention is flex, which knows no attention dropout; use sdpa")
    if setting == "sdpa" and capped:
        raise ConfigError(
            "model.attention is sdpa, but this model caps its attention scores (attn_logit_softcapping), which SDPA "
            "leaves out; use auto"
        )
    if setting != "auto":
        return [{"flex": FLEX, "sdpa": "sdpa", "eager": "eager"}[setting]]
    return [*([FLEX] if cuda and not dropout else []), *([] if capped else ["sdpa"]), "eager"]


def use_segments(model: PreTrainedModel) -> None:
    """Switch a model that was loaded with SDPA to `segment_attention`; one that cannot change keeps plain SDPA."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(SEGMENTS, segment_attention)
    # Of sequences that are not packed it is plain SDPA, so it takes the same masks.
    AttentionMaskInterface.register(SEGMENTS, sdpa_mask)
    if model._can_set_attn_implementation():
        model.set_attn_implementation(SEGMENTS)


def leave_flex(model: PreTrainedModel) -> str:
    """Switch a model that was loaded with FlexAttention to the next best attention, and return its name."""
    implementation = choose_attention("auto", model.config, "cpu")[0]
    if implementation == "sdpa":
        use_segments(model)
    else:
        model.set_attn_implementation(implementation)
    return implementation


def plain_options(causal: PreTrainedModel) -> dict[str, Any]:
    """Return keyword arguments for sequences that are not packed, such as short texts.

    FlexAttention without gradients takes another kernel below 128 tokens, which cannot be built for many numbers of
    heads (torch 2.13: none of its block sizes divides the mask's); its usual kernel can.
    """
    return {"kernel_options": {"BACKEND": "TRITON"}} if causal.config._attn_implementation == FLEX else {}


def allow_flex_variants() -> None:
    """Raise torch's compile limit so that FlexAttention is compiled for each way in which it is called here.

    These are: plain and packed, with gradients and without, in training and inference mode, for the policy and a
    separate reference. Beyond its limit (8) torch would silently continue without the kernels, with T x T scores in
    memory.
    """
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, 64)


def backbone_inputs(causal: PreTrainedModel, batch: PackedBatch) -> dict[str, Any]:
    """Return the keyword arguments with which the model's backbone computes a packed batch.

    Raises:
        ConfigError: the architecture has layers whose packed form is not exact, or an attention without masks.
    """
    implementation = causal.config._attn_implementation
    if implementation == FLEX:
        batch = padded(batch)
    return {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "attention_mask": _masks(causal, batch, implementation),
        "use_cache": False,
    }


def _masks(causal: PreTrainedModel, batch: PackedBatch, implementation: str) -> Any:
    """Return the mask as this architecture takes it: one for all layers, or one per kind of layer."""

    def mask(window: int | None) -> Any:
        if implementation == SEGMENTS:
            return PackedMask.of(batch, window)
        if implementation == FLEX:
            return block_mask(batch, window)
        allowed = batch.attention_mask(window)
        if implementation == "sdpa":
            return allowed
        if implementation == "eager":
            blocked = torch.finfo(causal.dtype).min
            return torch.zeros(allowed.shape, dtype=causal.dtype, device=allowed.device).masked_fill_(~allowed, blocked)
        raise ConfigError(f'attention {implementation!r} cannot take the packed mask; set model.attention to "auto"')

    config = causal.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    if kinds - _MASKABLE_LAYERS:
        raise ConfigError(
            f"{type(causal).__name__} has {', '.join(sorted(kinds - _MASKABLE_LAYERS))} layers, whose packed form is "
            "not exact"
        )
    if len(kinds) > 1 or kinds == {"sliding_attention"}:
        windows = {"full_attention": None, "sliding_attention": window}
        return {kind: mask(windows[kind]) for kind in kinds}
    # Without layer_types a window holds for every layer (Mistral); with them, "full" layers ignore the setting (Qwen2).
    return mask(None if kinds else window)


# SDPA by segments


@dataclass(frozen=True)
class Segment:
    """One call of SDPA: the tokens at `rows` attend to those at `columns`.

    Args:
        rows: a stretch of the sequence; those of all segments cover it in order.
        columns: one or more stretches.
        allowed: bool [rows, columns], or None: causal (rows and columns are the same stretch).
    """

    rows: range
    columns: tuple[range, ...]
    allowed: torch.Tensor | None


class PackedMask(torch.Tensor):
    """A batch's segments, passed through Transformers to the attention in place of a mask.

    A bool tensor [1, 1, 0, 0]: Transformers passes masks of four dimensions on unchanged.
    """

    segments: tuple[Segment, ...]

    @staticmethod
    def of(batch: PackedBatch, window: int | None = None) -> PackedMask:
        """Return the segments of a batch under full (None) or sliding-window attention."""
        empty = torch.empty(1, 1, 0, 0, dtype=torch.bool, device=batch.input_ids.device)
        mask = empty.as_subclass(PackedMask)
        mask.segments = tuple(_segments(batch, window))
        return mask


def _segments(batch: PackedBatch, window: int | None) -> Iterator[Segment]:
    device = batch.input_ids.device

    def segment(rows: range, *columns: range) -> Segment:
        if len(columns) > 1 and columns[-2].stop == columns[-1].start:
            columns = (*columns[:-2], range(columns[-2].start, columns[-1].stop))  # views, no copies
        at = torch.cat([torch.arange(c.start, c.stop, device=device) for c in columns])
        return Segment(
            rows, columns, batch.visible(torch.arange(rows.start, rows.stop, device=device)[:, None], at, window)
        )

    for tree in batch.trees():
        trunk = _trunk(batch, tree)
        whole = range(batch.stretches[tree[0]].rows.start, batch.stretches[trunk[-1]].rows.stop)
        if window is None or window >= len(whole):
            yield Segment(whole, (whole,), None)
        else:
            # Chunks of a window's length see at most the chunk before: linear in the prompt, as sliding windows are.
            for start in range(whole.start, whole.stop, window):
                rows = range(start, min(start + window, whole.stop))
                yield segment(rows, range(max(whole.start, start - window + 1), rows.stop))
        rest = tree[len(trunk) :]
        answers = range(whole.stop, batch.stretches[tree[-1]].rows.stop)
        # What the window leaves of the trunk for the first token after it.
        seen = range(whole.start if window is None else max(whole.start, whole.stop - window + 1), whole.stop)
        flat = all(batch.stretches[index].parent == trunk[-1] for index in rest)
        if flat and rest and (len(rest) == 1 or 4 * len(answers) <= len(seen)):
            # One call, in which completions waste a little work on each other, but no key has to be copied.
            yield segment(answers, range(seen.start, answers.stop))
            continue
        for index in rest:
            rows = batch.stretches[index].rows
            yield segment(rows, *_within(batch.above(index), window), rows)


def _trunk(batch: PackedBatch, tree: Sequence[int]) -> list[int]:
    """Return the stretches at a tree's beginning that continue one another and are continued: one causal text."""
    continued = {stretch.parent for stretch in batch.stretches}
    trunk = [tree[0]]
    for index in tree[1:]:
        if batch.stretches[index].parent != trunk[-1] or index not in continued:
            break
        trunk.append(index)
    return trunk


def _within(above: Sequence[range], window: int | None) -> list[range]:
    """Return what a window leaves of the stretches above a stretch for its first token."""
    if window is None:
        return list(above)
    kept: list[range] = []
    left = window - 1
    for rows in reversed(above):
        part = rows[max(0, len(rows) - left) :]
        if part:
            kept.insert(0, part)
        left -= len(part)
    return kept


@over_heads
def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention for Transformers' `AttentionInterface`: plain SDPA unless the mask is a `PackedMask`.

    Args:
        module: the attention layer.
        query: [1, heads, T, head size].
        key: [1, key heads, T, head size].
        value: [1, key heads, T, head size].
        attention_mask: a `PackedMask`, or what SDPA takes.
        dropout: dropout probability of attention weights.
        scaling: factor of the scores (None: 1 / sqrt(head size)).

    Returns:
        [1, T, heads, head size], and no attention weights.

    Raises:
        ConfigError: the architecture adds something to the scores that SDPA does not support (attention sinks, ...).
    """
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    if not isinstance(attention_mask, PackedMask):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    for name in ("s_aux", "position_bias", "softcap"):
        if kwargs.get(name) is not None:
            raise ConfigError(
                f"{type(module).__name__} adds {name} to its attention, which SDPA leaves out; set model.attention to "
                "eager"
            )
    # Once for all segments, whose keys are then views that share memory until the backward pass.
    repeats = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    queries = query.split([len(segment.rows) for segment in attention_mask.segments], dim=2)
    outputs = []
    for q, segment in zip(queries, attention_mask.segments, strict=True):
        output = F.scaled_dot_product_attention(
            q,
            _columns(key, segment.columns),
            _columns(value, segment.columns),
            attn_mask=segment.allowed,
            dropout_p=dropout,
            is_causal=segment.allowed is None,
            scale=scaling,
        )
        outputs.append(output.transpose(1, 2))
    return torch.cat(outputs, dim=1), None


def _columns(states: torch.Tensor, columns: tuple[range, ...]) -> torch.Tensor:
    parts = [states[:, :, c.start : c.stop] for c in columns]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


# FlexAttention


def block_mask(batch: PackedBatch, window: int | None = None) -> BlockMask:
    """Return FlexAttention's mask of a packed batch whose length is whole blocks.

    The table of blocks is made a row of blocks at a time: PyTorch's own `create_block_mask` would first make the dense
    mask (1 GB at 32k tokens), or compile a kernel for it.
    """
    from torch.nn.attention.flex_attention import BlockMask

    length = batch.tokens
    columns = torch.arange(length, device=batch.input_ids.device)
    partial, full = [], []
    for rows in columns.split(BLOCK):
        allowed = batch.visible(rows[:, None], columns, window).unflatten(1, (-1, BLOCK))  # [block, blocks, block]
        every = allowed.all(dim=0).all(dim=-1)
        partial.append(allowed.any(dim=0).any(dim=-1) & ~every)
        full.append(every)

    def table(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        dense = torch.stack(rows)[None, None]  # [1, 1, blocks, blocks]
        order = dense.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
        return dense.sum(-1, dtype=torch.int32), order.to(torch.int32).contiguous()

    ends, position = batch.subtree_ends, batch.position_ids[0]

    def mask_mod(b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        seen = (q >= k) & (q < ends[k])
        return seen if window is None else seen & (position[k] > position[q] - window)

    return BlockMask.from_kv_blocks(
        *table(partial), *table(full), BLOCK_SIZE=BLOCK, mask_mod=mask_mod, seq_lengths=(length, length)
    )


def padded(batch: PackedBatch, multiple: int = BLOCK) -> PackedBatch:
    """Return the batch padded to a multiple of tokens.

    Whole blocks of FlexAttention need no bounds checks in the kernel, and are fewer lengths to compile for. Padding is
    a text of its own, so that it sees itself: kernels fail on rows that see nothing.
    """
    more = -batch.tokens % multiple
    if not more:
        return batch
    pad = functools.partial(F.pad, pad=(0, more))
    whole = batch.tokens + more
    return replace(
        batch,
        input_ids=pad(batch.input_ids),
        position_ids=pad(batch.position_ids),
        subtree_ends=pad(batch.subtree_ends, value=whole),
        stretches=(*batch.stretches, Stretch(range(batch.tokens, whole), None)),
    )
