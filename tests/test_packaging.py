"""What pyproject.toml and the constraint files of CI say of each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_lowest_versions_are_those_of_the_ranges():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ranges = [*project["dependencies"], *extras["pdf"], *extras["longbench"]]
    lowest = [re.sub(r"^([\w.-]+)(?:\[\w+\])?>=([\w.]+).*", r"\1==\2", entry) for entry in ranges]
    text = (ROOT / ".ci/constraints-lowest.txt").read_text()
    assert [line for line in text.splitlines() if not line.startswith("#")] == lowest


def test_what_builds_of_torch_differ_in_is_not_pinned():
    """The CPU build has no Triton, the CUDA build one version of it: with a pin pip could install only one of them."""
    pinned = (ROOT / ".ci/constraints-cpu.txt").read_text()
    assert re.findall(r"^(?:triton|nvidia-\S+|cuda-\S+)==.*", pinned, re.MULTILINE) == []


def test_the_pinned_versions_lie_in_the_ranges():
    from packaging.requirements import Requirement

    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / ".ci/constraints-cpu.txt").read_text(), re.MULTILINE))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [Requirement(entry) for entry in project["dependencies"]]
    checked = [need for need in needed if need.name.lower() in pinned]
    assert len(checked) > 15
    assert [str(need) for need in checked if pinned[need.name.lower()] not in need.specifier] == []
