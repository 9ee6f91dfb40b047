"""The hardware of this machine: GPUs, memory, cores, disk. Reads only, without allocating GPU memory."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")

_NO_LIMIT = 2**60
"""Bytes above which a control group's limit means "no limit": unlimited groups report about 2^63."""


@dataclass(frozen=True)
class GPU:
    """One CUDA device: name, total and free memory in bytes, and its compute capability (8, 9), ..."""

    name: str
    total: int
    free: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Machine:
    """This computer.

    Args:
        gpus: the CUDA devices that this process sees.
        memory: bytes of host memory that this process may use in total (within a container's limit).
        available: of those, bytes that are free now.
        cores: number of cores that this process may run on.
        bf16: whether the processor has bf16 instructions; None if unknown.
        processor: name of the processor.
    """

    gpus: tuple[GPU, ...]
    memory: int
    available: int
    cores: int
    bf16: bool | None
    processor: str


def this_machine() -> Machine:
    """Return a description of this computer."""
    memory, available = host_memory()
    flags, processor = _processor()
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return Machine(
        gpus=_gpus(),
        memory=memory,
        available=available,
        cores=len(affinity(0)) if affinity is not None else os.cpu_count() or 1,
        bf16=None if flags is None else bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        processor=processor,
    )


def host_memory() -> tuple[int, int]:
    """Return total and available host memory in bytes, within a container's limit (control groups, version 2 or 1)."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    else:
        page = os.sysconf("SC_PAGE_SIZE")
        total = available = os.sysconf("SC_PHYS_PAGES") * page
    root = _CGROUP
    for limit_file, used_file in (
        (root / "memory.max", root / "memory.current"),
        (root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes"),
    ):
        limit, used = _number(limit_file), _number(used_file)
        if limit is not None and used is not None and limit < min(total, _NO_LIMIT):
            total, available = limit, min(available, limit - used)
    return total, max(0, available)


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk on which `folder` is or will be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _gpus() -> tuple[GPU, ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
        found.append(GPU(name, total, free, capability))
    return tuple(found)


def _processor() -> tuple[set[str] | None, str]:
    """Return the processor's instruction flags and name, as Linux reports them."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return None, platform.processor() or platform.machine()
    lines = [line.partition(":") for line in info.read_text().splitlines()]
    fields = {key.strip().lower(): value.strip() for key, _, value in reversed(lines)}
    flags = fields.get("flags") or fields.get("features")  # x86, Arm
    return set(flags.split()) if flags else None, fields.get("model name") or platform.machine()


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # absent, or "max"
        return None
