"""Whether an engine that was put to sleep has really given its GPU memory back."""

from __future__ import annotations

import torch

from longmab_pl.errors import EngineError

LEAST_FREED = 0.7
"""Share of what the engine took at its start that sleeping must free: weights and KV cache go, CUDA graphs and kernel
workspaces stay (about a gigabyte, more than a tenth only of a very small share of a GPU)."""


def free_memory() -> int:
    """Bytes that nobody holds on the current GPU, torch's own unused blocks given back first."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info()[0])


def check_freed(held: int, free_before: int, free_after: int) -> None:
    """Compare figures in bytes, taken around falling asleep.

    Args:
        held: what the engine took when it started.
        free_before: free memory before.
        free_after: free memory after.

    Raises:
        EngineError: less than `LEAST_FREED` of what the engine holds was freed; training would run out of memory later,
            at some step that has nothing to do with the cause.
    """
    freed = free_after - free_before
    if freed < LEAST_FREED * held:
        raise EngineError(
            f"the sleeping engine freed {_gib(freed)} of the {_gib(held)} that it took at its start (free memory: "
            f"{_gib(free_before)} before, {_gib(free_after)} after; at least {LEAST_FREED:.0%} was expected); if other "
            "processes use this GPU, stop them; else run vLLM apart from training (longmab_pl.engines.server.engine."
            "ServerEngine) or lower engine.gpu_memory_utilization until both fit"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
