"""Peak memory of tensors, counted as PyTorch makes and frees them: exact, and the same on shape-only tensors."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorMemory(TorchDispatchMode):
    """Counts the storages that come into being within; `owned` ones, such as weights, do not count.

    Attributes:
        now: bytes alive.
        peak: the most that were, since the last `restart`.
    """

    def __init__(self, owned: torch.nn.Module) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        tensors = [*owned.parameters(), *owned.buffers()]
        self._known = {t.untyped_storage()._cdata for t in tensors}

    def restart(self) -> None:
        self.peak = self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size

        def gone() -> None:
            self.now -= size
            self._known.discard(key)

        weakref.finalize(storage, gone)
