"""CPU seconds of `longmab --help` beside those of Python itself: `python benchmarks/start_time.py --json start.json`.

Medians over the repeats, which take turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

COMMANDS = {"python": ["-c", "pass"], "help": ["-m", "longmab_pl", "--help"]}


def cpu_seconds(arguments: list[str]) -> float:
    """Return the CPU seconds of a Python process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the medians there")
    args = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(args.repeats):
        for name, command in COMMANDS.items():
            taken[name].append(cpu_seconds(command))
    medians = {f"{name}_s": statistics.median(seconds) for name, seconds in taken.items()}
    print("  ".join(f"{name} {value:.3f}" for name, value in medians.items()))
    if args.json:
        args.json.write_text(json.dumps(medians, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
