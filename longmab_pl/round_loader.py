"""The batches of an epoch, resumable in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from longmab_pl.dpo.batch import PackedBatch, PreferenceExample, collate


class RoundLoader:
    """The batches of one epoch in a fixed order, resumable in the middle (Lightning saves and restores its state).

    Args:
        examples: this rank's examples.
        batch_size: examples per batch.
        key: names the epoch; a saved position belongs to the epoch with the same key only.
        processed: how many batches of the epoch training has finished. Not how many were handed out: after a Ctrl-C in
            the middle of a step that step's batch must come again.
    """

    def __init__(
        self, examples: Sequence[PreferenceExample], batch_size: int, key: str, processed: Callable[[], int] = lambda: 0
    ) -> None:
        self.batches = [examples[i : i + batch_size] for i in range(0, len(examples), batch_size)]
        self.key = key
        self.processed = processed
        self._resume_at = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[PackedBatch]:
        start, self._resume_at = self._resume_at, 0
        for batch in self.batches[start:]:
            yield collate(batch)

    def state_dict(self) -> dict[str, Any]:
        return {"key": self.key, "processed": self.processed()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["key"] == self.key:
            self._resume_at = state["processed"]
