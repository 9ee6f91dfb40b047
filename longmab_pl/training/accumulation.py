"""Gradient accumulation: the weight of each batch in its optimizer step, and checkpoints between batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class StepWeights:
    """The sum of the weights of an optimizer step's batches so far.

    Lightning divides every batch's loss by the full number of batches per step. That is wrong for an epoch's last,
    incomplete step, and for batches that hold different numbers of pairs. With the shares that this class returns,
    the gradient after each batch is the mean over all units (pairs, or tokens) of the step up to it: the new batch
    has its share as its weight, and the gradient so far is scaled by the rest.

    Example:
        >>> step = StepWeights()
        >>> [float(step.add(torch.tensor(w))) for w in (2.0, 1.0, 1.0)]
        [1.0, 0.3333333432674408, 0.25]
    """

    def __init__(self) -> None:
        self.total: torch.Tensor | None = None

    def add(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the share of a batch with this weight (float []) in the step up to it: float [], in (0, 1]."""
        self.total = weight if self.total is None else self.total + weight
        return weight / self.total


@torch.no_grad()
def scale_gradients(parameters: Iterable[torch.nn.Parameter], factor: torch.Tensor) -> None:
    """Multiply all existing gradients by `factor`, in place."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)


def drop_partial_accumulation(checkpoint: dict[str, Any], batches: float, accumulate: int) -> None:
    """Move a checkpoint's position back to the first batch of the current optimizer step.

    Gradients are not saved, so a run resumed between two batches of a step would take the step without the first
    batch's gradient. Repeating these few batches makes the step exact. Nothing changes between two steps.

    Args:
        checkpoint: as Lightning made it; loops and data loaders are changed in place.
        batches: number of batches of the epoch; infinite while it is unknown.
        accumulate: batches per optimizer step (`trainer.accumulate_grad_batches`); the epoch's last step may have
            fewer.
    """
    loops = checkpoint["loops"]["fit_loop"]
    position = loops["epoch_loop.batch_progress"]
    done = position["current"]["processed"]
    half_done = done % accumulate
    if half_done == 0 or done >= batches:
        return
    for counted in ("current", "total"):
        first = position[counted]["processed"] - half_done
        # The state of an epoch that stopped within this batch.
        position[counted] |= {"ready": first + 1, "started": first + 1, "processed": first, "completed": first}
    position["is_last_batch"] = False
    for loader in loops["state_dict"].get("combined_loader", []):
        loader["processed"] = done - half_done
