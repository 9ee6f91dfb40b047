"""Sequence parallelism: several processes share the tokens of one packed sequence (DeepSpeed-Ulysses).

All layers but attention compute each token by itself, so a process computes its own slice of the tokens. Around
attention two all-to-all exchanges turn [a slice of the tokens, all heads] into [all tokens, a share of the heads] and
back. In between runs the ordinary attention, with the whole sequence's mask: any mask will do, the packed one included.

Source: DeepSpeed Ulysses (arXiv:2309.14509), section 3.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from longmab_pl.errors import ConfigError

Attend = Callable[..., tuple[torch.Tensor, Any]]
"""A function of Transformers' `AttentionInterface`: query, key and value [1, heads, T, D] in, [1, T, heads, D] and
attention weights out, with the head size D."""


@dataclass(frozen=True)
class SequenceGroup:
    """The processes that share the tokens of each sequence.

    Args:
        processes: torch's process group.
        rank: this process within the group.
        size: number of processes of the group.
    """

    processes: dist.ProcessGroup
    rank: int
    size: int

    def slice(self, tokens: int) -> range:
        """Return the places of this process's tokens in a sequence whose length is a multiple of `size`."""
        own = tokens // self.size
        return range(self.rank * own, (self.rank + 1) * own)


def sequence_group(size: int, device: torch.device) -> SequenceGroup:
    """Return this process's group of `size` neighboring ranks; all processes must call this."""
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(device.type, (dist.get_world_size() // size, size), mesh_dim_names=("data", "sequence"))
    return SequenceGroup(mesh.get_group("sequence"), mesh.get_local_rank("sequence"), size)


class SplitMask(torch.Tensor):
    """The mask of a whole sequence whose tokens are split, passed through Transformers to the attention.

    A bool tensor [1, 1, 0, 0]: Transformers passes masks of four dimensions on unchanged.
    """

    whole: Any
    group: SequenceGroup

    @staticmethod
    def of(whole: Any, group: SequenceGroup, device: torch.device) -> SplitMask:
        """Return a mask that `over_heads` reads.

        Args:
            whole: the mask that the attention itself takes, for all tokens.
            group: the processes among which the tokens are split.
            device: the tokens' device; FSDP would move it there, and lose what it holds.
        """
        mask = torch.empty(1, 1, 0, 0, dtype=torch.bool, device=device).as_subclass(SplitMask)
        mask.whole, mask.group = whole, group
        return mask


def over_heads(attend: Attend) -> Attend:
    """Return an attention that also takes a `SplitMask`, with a slice of the tokens in place of all of them.

    Args:
        attend: the attention of all tokens, called with each process's share of the heads.
    """

    @functools.wraps(attend)
    def exchanged(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, Any]:
        if not isinstance(attention_mask, SplitMask):
            return attend(module, query, key, value, attention_mask, **kwargs)
        for name in ("s_aux", "position_bias"):
            if kwargs.get(name) is not None:
                raise ConfigError(
                    f"{type(module).__name__} adds {name} to each head's attention, which cannot be divided among "
                    "processes; set model.sequence_parallel: 1"
                )
        group = attention_mask.group
        # Every process needs a key head for its query heads: where there are too few, each is repeated.
        repeats = math.lcm(key.shape[1], group.size) // key.shape[1]
        if repeats > 1:
            key, value = (states.repeat_interleave(repeats, dim=1) for states in (key, value))
        query, key, value = (_all_tokens(states, group) for states in (query, key, value))
        output, _ = attend(module, query, key, value, attention_mask.whole, **kwargs)
        return _all_heads(output, group), None

    return exchanged


def _all_tokens(states: torch.Tensor, group: SequenceGroup) -> torch.Tensor:
    """Return all tokens of this process's heads: [1, heads, T / size, D] -> [1, heads / size, T, D]."""
    parts = states[0].unflatten(0, (group.size, -1))  # [size, heads / size, T / size, D], a part for each process
    return exchange(parts, group).transpose(0, 1).flatten(1, 2)[None]


def _all_heads(states: torch.Tensor, group: SequenceGroup) -> torch.Tensor:
    """Return all heads of this process's tokens: [1, T, heads / size, D] -> [1, T / size, heads, D]."""
    parts = states[0].unflatten(0, (group.size, -1))  # [size, T / size, heads / size, D]
    return exchange(parts, group).transpose(0, 1).flatten(1, 2)[None]


def exchange(parts: torch.Tensor, group: SequenceGroup) -> torch.Tensor:
    """Send part r of the first dimension to process r, and return what came from each, in the order of the ranks.

    Args:
        parts: [size, ...], of one shape on all processes of the group.
        group: the processes.
    """
    received: torch.Tensor = _Exchange.apply(parts, group.processes)
    return received


def summed(values: torch.Tensor, group: SequenceGroup) -> torch.Tensor:
    """Return the sum over the group's processes; the gradient is that of the sum of all their losses.

    Where all processes of the group compute the same loss from the sum, a process has `size` times the gradient that
    flows through its own tokens. The mean over processes, which DDP and FSDP take, is then the loss's gradient.
    """
    total: torch.Tensor = _Sum.apply(values, group.processes)
    return total


class _Exchange(torch.autograd.Function):
    """All-to-all; the gradient goes back the way that the values came."""

    @staticmethod
    def forward(ctx: Any, parts: torch.Tensor, processes: dist.ProcessGroup) -> torch.Tensor:
        ctx.processes = processes
        parts = parts.contiguous()
        received = torch.empty_like(parts)
        dist.all_to_all_single(received, parts, group=processes)
        return received

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Exchange.apply(gradient, ctx.processes), None


class _Sum(torch.autograd.Function):
    """All-reduce; the gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, processes: dist.ProcessGroup) -> torch.Tensor:
        ctx.processes = processes
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=processes)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Sum.apply(gradient, ctx.processes), None
