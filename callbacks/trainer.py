"""Typed access to what Lightning sets on a Trainer without declaring it."""

from __future__ import annotations

from typing import Protocol, TypeVar, cast

from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback

C = TypeVar("C", bound=Callback)


class _Undeclared(Protocol):
    callbacks: list[Callback]
    datamodule: LightningDataModule | None
    fast_dev_run: bool | int


def callbacks_of(trainer: Trainer, kind: type[C]) -> list[C]:
    """Return the trainer's callbacks of a kind, in their order."""
    return [callback for callback in cast(_Undeclared, trainer).callbacks if isinstance(callback, kind)]


def data_module_of(trainer: Trainer) -> LightningDataModule | None:
    """Return the fit's data module of any class; `datamodules.base.rounds_of` accepts only the package's own."""
    return cast(_Undeclared, trainer).datamodule


def is_fast_dev_run(trainer: Trainer) -> bool:
    """Return whether the trainer only tries a few batches."""
    return bool(cast(_Undeclared, trainer).fast_dev_run)
