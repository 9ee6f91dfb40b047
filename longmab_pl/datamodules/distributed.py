"""Work that one process does for all processes, without a time limit."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from longmab_pl.errors import LongMabError

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""Timeout of waiting processes, 30 days. Lightning's own groups time out after 30 minutes, which is shorter than many
rollouts. A process that dies is still detected at once, because its connections close."""

_patient: tuple[Any, Any] = (None, None)
"""The default process group, and a gloo group of the same processes with timeout `PATIENCE`, which NCCL lacks."""


def on_rank_zero(work: Callable[[], T]) -> T:
    """Run `work` on rank 0 and return its result on every process; without other processes just run it.

    Every process must call this. All return together, also after an error: if rank 0 raises, the others raise a
    `LongMabError` with its message, so that none waits for a process that has failed.

    Args:
        work: function whose result is picklable.

    Raises:
        LongMabError: on the other ranks, rank 0 failed.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return work()
    group = _patient_group()
    if dist.get_rank() == 0:
        try:
            result = work()
            # Pickled here, so that a result that cannot be sent is an error on every rank, not an endless wait.
            sent = pickle.dumps(result)
        except BaseException as error:
            dist.broadcast_object_list([None, f"{type(error).__name__}: {error}"], src=0, group=group)
            raise
        dist.broadcast_object_list([sent, ""], src=0, group=group)
        return result
    received: list[Any] = [None, ""]
    dist.broadcast_object_list(received, src=0, group=group)
    sent, failure = received
    if failure:
        raise LongMabError(f"rank 0 failed, so rank {dist.get_rank()} ends too: {failure}")
    given: T = pickle.loads(sent)
    return given


def _patient_group() -> Any:
    """Return the gloo group. All processes make it at the first call, and again if the default group has changed."""
    global _patient
    if _patient[0] is not dist.group.WORLD:
        _patient = (dist.group.WORLD, dist.new_group(backend="gloo", timeout=PATIENCE))
    return _patient[1]
