"""The processes that train together: ranks, broadcast and barrier."""

from __future__ import annotations

from typing import Protocol, TypeVar

from lightning.pytorch import Trainer

T = TypeVar("T")


class Ranks(Protocol):
    """This process among those that train together. Implementations: `OneRank`, `TrainerRanks`."""

    rank: int
    world_size: int

    def broadcast(self, value: T) -> T:
        """Return rank 0's value on every rank; all ranks must call this."""

    def barrier(self, name: str) -> None:
        """Wait until every rank has called this; `name` appears in errors."""


class OneRank:
    """A process that trains alone."""

    rank = 0
    world_size = 1

    def broadcast(self, value: T) -> T:
        return value

    def barrier(self, name: str) -> None:
        return


class TrainerRanks:
    """The processes of a Lightning Trainer.

    Example:
        >>> ranks = TrainerRanks(trainer)  # doctest: +SKIP
        >>> share = examples[ranks.rank :: ranks.world_size]  # doctest: +SKIP
    """

    def __init__(self, trainer: Trainer) -> None:
        self.rank = trainer.global_rank
        self.world_size = trainer.world_size
        self._strategy = trainer.strategy

    def broadcast(self, value: T) -> T:
        return self._strategy.broadcast(value)

    def barrier(self, name: str) -> None:
        self._strategy.barrier(name)
