"""The learning rate as a function of how much of the run is done.

On-policy rounds make a different number of pairs each, so the number of steps is not known ahead; the fraction of the
run
(epochs, and batches within the present epoch) is, and it is all that a resumed run needs.
"""

from __future__ import annotations

import math
from typing import Literal

from lightning.pytorch import Trainer

from longmab_pl.errors import ConfigError

Schedule = Literal["cosine", "linear", "constant"]


def lr_factor(progress: float, warmup_fraction: float, schedule: Schedule) -> float:
    """What the peak learning rate is multiplied with: linear warm-up, then cosine or linear decay to 0, or constant.

    Args:
        progress: fraction of the run that is done, in [0, 1].
        warmup_fraction: fraction of the run that is warm-up, in [0, 1).
        schedule: the shape after the warm-up.
    """
    if progress < warmup_fraction:
        return progress / warmup_fraction
    if schedule == "constant":
        return 1.0
    decayed = min(1.0, (progress - warmup_fraction) / (1 - warmup_fraction))
    return 0.5 * (1 + math.cos(math.pi * decayed)) if schedule == "cosine" else 1 - decayed


def run_progress(trainer: Trainer, batch_idx: int) -> float:
    """Fraction of the run at the middle of this batch, so that neither the first nor the last step has a rate of 0.

    With `max_steps` set, optimizer steps count; otherwise epochs and batches.

    Raises:
        ConfigError: the run has no known end.
    """
    fractions = []
    if trainer.max_steps > 0:
        fractions.append((trainer.global_step + 0.5) / trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs > 0 and trainer.num_training_batches != float("inf"):
        epoch = (batch_idx + 0.5) / trainer.num_training_batches
        fractions.append((trainer.current_epoch + epoch) / trainer.max_epochs)
    if not fractions:
        raise ConfigError(
            "the learning-rate schedule needs an end of the run: set trainer.max_epochs (with a dataloader of known "
            "length) or "
            "trainer.max_steps"
        )
    return min(1.0, max(fractions))
