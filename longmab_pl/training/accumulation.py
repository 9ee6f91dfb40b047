"""Checkpoints between the batches of one optimizer step."""

from __future__ import annotations

from typing import Any


def drop_partial_accumulation(checkpoint: dict[str, Any], batches: float, accumulate: int) -> None:
    """Put a checkpoint's position back to the first batch of the optimizer step under way.

    Gradients are not saved, so that a run resumed between two batches of a step would take the step without the first
    one's gradient. The few batches that come again make it exact instead. Nothing changes where no step is half done.

    Args:
        checkpoint: as Lightning has put it together; loops and data loaders are changed in place.
        batches: of the epoch; infinite while they are not known.
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
        # The look of an epoch that stopped within this batch.
        position[counted] |= {"ready": first + 1, "started": first + 1, "processed": first, "completed": first}
    position["is_last_batch"] = False
    for loader in loops["state_dict"].get("combined_loader", []):
        loader["processed"] = done - half_done
