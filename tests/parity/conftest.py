"""`pytest tests/parity --vectors DIR` runs any folder of vector files; without it, the files in tests/assets/parity."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from parity import read_vectors, vector_files

SHIPPED = Path(__file__).parents[1] / "assets" / "parity"


def pytest_addoption(parser):
    parser.addoption(
        "--vectors", type=Path, default=None, metavar="DIR", help="a folder of vector files for tests/parity"
    )


def pytest_generate_tests(metafunc):
    if "vector" in metafunc.fixturenames:
        # The option is unknown to a run that does not name this folder.
        folder = metafunc.config.getoption("--vectors", default=None) or SHIPPED
        vectors = [vector for path in vector_files(folder) for vector in read_vectors(path)]
        metafunc.parametrize("vector", vectors, ids=[f"{v.function}-{v.where}" for v in vectors])


def pytest_terminal_summary(terminalreporter, config):
    """Count by function: vectors that pass, those of them by a deviation, and those that fail."""
    if config.getoption("--vectors", default=None) is None:
        return
    counts: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = dict(report.user_properties)
            if report.when == "call" and "function" in properties:
                count = counts.setdefault(properties["function"], Counter())
                count[outcome] += 1
                count["deviation"] += outcome == "passed" and "deviation" in properties
    terminalreporter.section("vectors by function")
    for function, count in sorted(counts.items()):
        total = count["passed"] + count["failed"]
        by_deviation = f", {count['deviation']} by a deviation" if count["deviation"] else ""
        terminalreporter.line(f"{function}: {count['passed']} of {total}{by_deviation}")
