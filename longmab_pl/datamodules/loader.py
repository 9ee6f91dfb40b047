"""The batches of an epoch: which pairs are packed together, on which rank, and where a resumed run continues."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from longmab_pl.training.batch import Example, PackedBatch, collate
from longmab_pl.training.packing import Batch, balance_ranks, pack_by_tokens


class RoundLoader:
    """The batches of one epoch in a fixed order, resumable in the middle (Lightning saves and restores its state).

    Every rank has the same number of batches, and no two ranks have the same pairs. Pairs that cannot be divided evenly
    are left out of this epoch; another epoch has another order.

    Args:
        examples: all ranks' examples in the epoch's order, the same on every rank.
        batch_size: examples per batch and rank; not used with `max_tokens`.
        key: name of the epoch; a saved position is valid only for the same key and the same batches.
        processed: returns the number of batches that training has finished, not the number that were loaded: after a
            Ctrl-C in the middle of a step that step's batch must be repeated.
        max_tokens: pack pairs up to this many tokens per batch, every shared prompt counted once (see
            `pack_by_tokens`); None: `batch_size` pairs.
        rank: rank of this process.
        world_size: number of processes that share the examples.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        batch_size: int,
        key: str,
        processed: Callable[[], int] = lambda: 0,
        *,
        max_tokens: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if max_tokens is None:
            own = examples[rank : len(examples) - len(examples) % world_size : world_size]
            self.batches: list[Batch] = [own[i : i + batch_size] for i in range(0, len(own), batch_size)]
        else:
            self.batches = balance_ranks(pack_by_tokens(examples, max_tokens), world_size)[rank::world_size]
        share = f"{batch_size} pairs" if max_tokens is None else f"{max_tokens} tokens"
        self.key = f"{key}/{share}/{world_size}"
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


class NoPairsLoader:
    """An epoch without a pair: one step without a batch, which Lightning counts and does not train on.

    A loader without a step would end the whole run.
    """

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[None]:
        yield None
