"""Which numbers of processes can share a sequence; needs no library, so that a command says it at once."""

from __future__ import annotations


def uneven_processes(size: int, processes: int) -> str | None:
    """Return why `model.sequence_parallel` does not fit this number of processes, or None if it does."""
    if processes % size == 0:
        return None
    said = "one process" if processes == 1 else f"{processes} processes"
    return (
        f"model.sequence_parallel is {size}, and the run has {said}: every sequence takes {size}; set trainer.devices "
        f"(x trainer.num_nodes) to {size} or a multiple of it, with trainer.strategy: ddp, or model.sequence_parallel "
        "to a divisor of the processes"
    )


def uneven_heads(size: int, heads: int) -> str | None:
    """Return why a model with this number of attention heads cannot be divided among `size` processes, or None."""
    if heads % size == 0:
        return None
    fitting = [n for n in range(1, heads + 1) if heads % n == 0]
    return (
        f"model.sequence_parallel is {size}, but the model's {heads} attention heads cannot be divided by it; use one "
        f"of {', '.join(map(str, fitting))}"
    )
