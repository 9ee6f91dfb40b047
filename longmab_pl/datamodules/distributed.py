"""Work that one process does for all of them, for as long as it takes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from longmab_pl.errors import LongMabError

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""Of the processes that wait. Lightning's own groups give up after 30 minutes, shorter than many a rollout; a process
that dies is noticed at once all the same, because its connections close."""

_patient: tuple[Any, Any] = (None, None)
"""The processes' own group, and a gloo group of all of them with that patience (NCCL cannot be this patient)."""


def on_rank_zero(work: Callable[[], T]) -> T:
    """Do `work` on rank 0 and give its result to every process; without other processes just do it.

    Every process must call this. They leave it together, also by an error: what rank 0 raises, the others raise as a
    `LongMabError` that names it, so that none waits for a process that has given up.

    Args:
        work: its result must be picklable.

    Raises:
        LongMabError: on the other ranks, rank 0 failed.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return work()
    group = _patient_group()
    if dist.get_rank() == 0:
        try:
            result = work()
            # Pickled here, so that a result that cannot be sent is an error on every rank and not a wait for ever.
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
    """The patient group, made at the first call (by all processes together) and again when their own is another."""
    global _patient
    if _patient[0] is not dist.group.WORLD:
        _patient = (dist.group.WORLD, dist.new_group(backend="gloo", timeout=PATIENCE))
    return _patient[1]
