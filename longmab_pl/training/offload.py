"""Activations that are kept for the backward pass in the computer's memory instead of the GPU's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SMALLEST = 1 << 16
"""Size in bytes below which a tensor stays on the GPU: transferring row statistics and the like costs more than it
saves."""


@contextmanager
def offloaded_activations(model: torch.nn.Module) -> Iterator[None]:
    """Copy what the backward pass needs to page-locked memory, and back when it is needed, inside the `with` block.

    The model's weights stay (PyTorch's `save_on_cpu` would copy them too). With gradient checkpointing only the layers'
    inputs are kept, so the memory on the GPU no longer grows with layers x tokens. Values are copied, not rounded:
    results are the same. On CPU tensors it copies but saves no memory, which is useful in tests.
    """
    local = (p.to_local() if hasattr(p, "to_local") else p for p in model.parameters())  # DTensors under FSDP
    weights = {p.untyped_storage().data_ptr() for p in local}

    def pack(tensor: torch.Tensor) -> torch.Tensor | tuple[torch.device, torch.Tensor]:
        is_weight = tensor.untyped_storage().data_ptr() in weights
        if is_weight or not tensor.is_floating_point() or tensor.nbytes < _SMALLEST:
            return tensor
        copy = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
        # On the current stream, before whatever reuses the memory; the way back waits for it on the same stream.
        copy.copy_(tensor, non_blocking=tensor.is_cuda)
        return tensor.device, copy

    def unpack(packed: torch.Tensor | tuple[torch.device, torch.Tensor]) -> torch.Tensor:
        if isinstance(packed, torch.Tensor):
            return packed
        device, copy = packed
        return copy.to(device, non_blocking=device.type == "cuda")

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
