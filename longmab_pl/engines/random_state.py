"""Isolation of the training run's random numbers from an engine in the same process."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def isolated_rng() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and torch's generators (CPU and current GPU) at the end of the block.

    vLLM seeds all of them when it starts and draws from torch's at every step, and loading a model draws initial
    weights: without this the training run would depend on how many steps the engine happened to take.
    """
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
