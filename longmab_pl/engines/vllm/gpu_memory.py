"""The check that a sleeping engine has really freed its GPU memory."""

from __future__ import annotations

import torch

from longmab_pl.errors import EngineError

LEAST_FREED = 0.7
"""Share of the engine's memory that sleeping must free. Weights and KV cache are freed; CUDA graphs and kernel
workspaces stay: about a gigabyte, which is more than a tenth only if the engine has a very small share of a GPU."""


def free_memory() -> int:
    """Return the free bytes on the current GPU, after releasing torch's own unused blocks."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info()[0])


def check_freed(held: int, free_before: int, free_after: int) -> None:
    """Raise an error if sleeping freed too little memory; all figures are in bytes.

    Args:
        held: memory that the engine took when it started.
        free_before: free memory before sleeping.
        free_after: free memory after it.

    Raises:
        EngineError: less than `LEAST_FREED` of the engine's memory was freed; training would run out of memory later,
            at an unrelated step.
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
