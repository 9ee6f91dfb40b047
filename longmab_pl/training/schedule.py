"""The learning rate as a function of how much of the run, or of a phase's share of it, is done.

On-policy rounds make a different number of pairs each, so the number of steps is not known ahead. The fraction (epochs,
and batches within the current epoch) is known, and a resumed run needs nothing else.
"""

from __future__ import annotations

import math
from typing import Literal

from lightning.pytorch import Trainer

from longmab_pl.errors import ConfigError
from longmab_pl.training.phases import PhasePlan

Schedule = Literal["cosine", "linear", "constant"]


def lr_factor(progress: float, warmup_fraction: float, schedule: Schedule) -> float:
    """Return the factor of the peak learning rate.

    It rises linearly, then decays as a cosine or linearly to 0, or stays at 1.

    Args:
        progress: fraction of the run (of the phase) that is done, in [0, 1].
        warmup_fraction: fraction of it that is warm-up, in [0, 1).
        schedule: the shape after the warm-up.
    """
    if progress < warmup_fraction:
        return progress / warmup_fraction
    if schedule == "constant":
        return 1.0
    decayed = min(1.0, (progress - warmup_fraction) / (1 - warmup_fraction))
    return 0.5 * (1 + math.cos(math.pi * decayed)) if schedule == "cosine" else 1 - decayed


def phase_progress(trainer: Trainer, batch_idx: int, phases: PhasePlan) -> float:
    """Return the fraction of the phase at the middle of this batch, so that no step has a rate of 0.

    A phase is counted over all rounds: its warm-up is in the first, its end in the last. With `trainer.max_steps` set
    the fraction is that of the run's steps where it is larger.

    Raises:
        ConfigError: the run has no known end.
    """
    fractions = []
    if trainer.max_steps > 0:
        fractions.append((trainer.global_step + 0.5) / trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs > 0 and trainer.num_training_batches != float("inf"):
        fraction = (batch_idx + 0.5) / trainer.num_training_batches
        fractions.append(phases.progress(trainer.current_epoch, fraction, trainer.max_epochs))
    if not fractions:
        raise ConfigError(
            "the learning-rate schedule needs an end of the run: set trainer.max_epochs (with a dataloader of known "
            "length) or trainer.max_steps"
        )
    return min(1.0, max(fractions))
