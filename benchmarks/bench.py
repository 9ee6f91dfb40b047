"""All benchmarks at a small size: ratios, the goal beside each, and what has become worse since the kept table.

    make bench                                                  # at most 15 minutes on two cores
    python benchmarks/bench.py --only scheduler report          # some of them; the rest of --out stays as it is
    python benchmarks/bench.py --only scheduler --keep          # what is measured becomes the kept table's
    python benchmarks/bench.py --show                           # the table of --out; nothing runs

Every benchmark is a program of its own with a time limit; one that fails or takes too long is a row that says so. What
runs in one process is timed in CPU seconds, so that other programs on the machine count less; the rollout's modes, in
wall seconds, want a quiet machine.

The kept table is `benchmarks/kept.json`. A figure that is worse than there by more than its noise is a regression, and
the exit code is then 1, as after a failure; a missed goal is shown and no error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from longmab_pl.sigterm import sigterm_interrupts

HERE = Path(__file__).parent
KEPT = HERE / "kept.json"
TAIL_CHARS = 200
"""Length of what is shown of a failed program's last line."""


@dataclass(frozen=True)
class Measure:
    """A ratio that a benchmark gives.

    Args:
        name: what it is, unique among all.
        read: reads it from the program's JSON.
        better: which direction is better.
        goal: bound that it should reach.
        noise: share by which it may be worse than the kept one: two runs on a shared machine differ by as much.
    """

    name: str
    read: Callable[[Any], float]
    better: Literal["higher", "lower"]
    goal: float
    noise: float = 0.15

    def reaches(self, value: float) -> bool:
        """Whether a value reaches the goal."""
        return value >= self.goal if self.better == "higher" else value <= self.goal

    def worse(self, value: float, kept: float) -> bool:
        """Whether a value is worse than a kept one by more than noise."""
        if self.better == "higher":
            return value < kept * (1 - self.noise)
        return value > kept * (1 + self.noise)


@dataclass(frozen=True)
class Benchmark:
    """A program, and the ratios in the JSON file that it writes.

    Args:
        name: name for `--only`.
        command: program in this folder and its arguments; `{out}` is the JSON file.
        limit: seconds that it may take.
        measures: the ratios.
    """

    name: str
    command: tuple[str, ...]
    limit: float
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        benchmark: the benchmark's name.
        measure: the measure's name.
        value: the ratio; None: the program failed.
        failure: why it failed.
        seconds: how long the program ran.
        when: date.
        load: load average of the last minute when the program began: 1 for each busy core.
    """

    benchmark: str
    measure: str
    value: float | None
    failure: str
    seconds: float
    when: str
    load: float


def dpo_ratio(figure: str, upside_down: bool = False) -> Callable[[Any], float]:
    """Return a reader of the packed step's figure divided by TRL's (upside down: TRL's by the packed step's)."""

    def read(results: Any) -> float:
        of = {result["case"]["system"]: float(result[figure]) for result in results}
        return of["trl"] / of["packed"] if upside_down else of["packed"] / of["trl"]

    return read


def in_json(figure: str, row: int) -> Callable[[Any], float]:
    """Return a reader of a row of the scheduler's table, in JSON round trips of an answer on the same machine."""
    return lambda found: float(found["scheduling"][row][figure] / found["scheduling"][row]["json_us"])


def growth(figure: str) -> Callable[[Any], float]:
    """Return a reader of a figure for each response at 100,000 records divided by that at 1,000."""
    return lambda found: float(found["scheduling"][-1][figure] / found["scheduling"][0][figure])


def dpo(name: str, lengths: str, warmup: int, goal: float, limit: float) -> Benchmark:
    """Return the packed step against TRL's at one length."""
    options = ("--pairs", lengths, "--systems", "packed", "trl", "--warmup", str(warmup), "--steps", "1")
    return Benchmark(
        name,
        ("dpo_step.py", *options, "--out", "{out}"),
        limit,
        (
            Measure(f"DPO step {lengths}: pairs/s, TRL = 1", dpo_ratio("cpu_seconds_per_pair", True), "higher", goal),
            Measure(f"DPO step {lengths}: peak memory, TRL = 1", dpo_ratio("peak_bytes"), "lower", 0.4, 0.25),
        ),
    )


BENCHMARKS = (
    Benchmark(
        "help",
        ("start_time.py", "--json", "{out}"),
        60,
        (Measure("longmab --help: seconds, `python -c pass` = 1", lambda r: r["help_s"] / r["python_s"], "lower", 5),),
    ),
    Benchmark(
        "chunking",
        ("chunking.py", "{out}"),
        240,
        (
            Measure(
                "chunking: seconds at 400,000 tokens, at 100,000 = 1",
                lambda rows: rows[2]["linear_s"] / rows[1]["linear_s"],
                "lower",
                4.5,
            ),
            Measure(
                "chunking at 25,000 tokens: seconds, the paper's style = 1",
                lambda rows: rows[0]["linear_s"] / rows[0]["paper_s"],
                "lower",
                0.05,
                0.3,
            ),
        ),
    ),
    Benchmark(
        "report",
        ("report_page.py", "--json", "{out}"),
        120,
        (
            Measure(
                "report page: seconds at 4,000 records, at 1,000 = 1",
                lambda rows: rows[1]["page_s"] / rows[0]["page_s"],
                "lower",
                4,
            ),
            Measure(
                "report page, 4,000 records: seconds, reading its lines = 1",
                lambda rows: rows[1]["page_s"] / rows[1]["lines_s"],
                "lower",
                5,
                0.3,
            ),
        ),
    ),
    Benchmark(
        "scheduler",
        (
            *("rollout.py", "--scripted", "--only", "scheduling", "--sizes", "1000", "100000"),
            *("--responses", "200000", "--json", "{out}"),
        ),
        420,
        (
            Measure(
                "scheduler, 1,000 records: a response, JSON of it = 1", in_json("scheduler_cpu_us", 0), "lower", 15, 0.3
            ),
            Measure(
                "scheduler, 100,000 records: a response, JSON of it = 1",
                in_json("scheduler_cpu_us", 1),
                "lower",
                15,
                0.3,
            ),
            Measure("scheduler: 100,000 records, 1,000 = 1", growth("scheduler_cpu_us"), "lower", 1.5, 0.3),
            Measure(
                "journal, 100,000 records: a response, JSON of it = 1",
                in_json("with_journal_cpu_us", 1),
                "lower",
                25,
                0.3,
            ),
            Measure("journal: 100,000 records, 1,000 = 1", growth("with_journal_cpu_us"), "lower", 1.5, 0.3),
            Measure(
                "opening the journal: a response, JSON of it = 1", in_json("journal_open_cpu_us", 1), "lower", 5, 0.3
            ),
        ),
    ),
    Benchmark(
        "evaluation",
        ("evaluation.py", "--contexts", "4", "--passages", "8", "--repeats", "3", "--json", "{out}"),
        180,
        (
            Measure(
                "evaluation runner: requests/s, vLLM's best order = 1",
                lambda found: found["ratios"]["runner / vllm, grouped, median_cpu_s"],
                "higher",
                0.9,
            ),
        ),
    ),
    dpo("dpo-512", "512+64", 1, 1.8, 180),
    dpo("dpo-2k", "2048+200", 0, 1.8, 300),
    Benchmark(
        "rollout",
        (
            *("rollout.py", "--records", "12", "--pulls", "4", "--passages", "8", "--concurrency", "8"),
            *("--max-tokens", "256", "--kv-cache-gb", "0.5", "--repeats", "1", "--json", "{out}"),
        ),
        300,
        (
            Measure("rollout: responses/s, lockstep = 1", lambda found: found["free_over_lockstep"], "higher", 1.5),
            Measure(
                "rollout: responses/s, all at once = 1", lambda found: found["free_over_all_at_once"], "higher", 0.9
            ),
        ),
    ),
)


def run(benchmark: Benchmark, limit: float) -> list[Row]:
    """Run a benchmark and return its rows.

    Args:
        benchmark: the benchmark.
        limit: seconds that are left for it.
    """
    began, load = time.monotonic(), os.getloadavg()[0]
    when = datetime.now(UTC).date().isoformat()
    found: Any = None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        program, *arguments = (part.format(out=out) for part in benchmark.command)
        failure = ended(["-u", str(HERE / program), *arguments], min(benchmark.limit, limit))
        if not failure:
            try:
                found = json.loads(out.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                failure = f"wrote no figures: {error}"
    seconds = time.monotonic() - began
    rows = []
    for measure in benchmark.measures:
        value, why = None, failure
        if not why:
            try:
                value = measure.read(found)
            except (LookupError, TypeError, ZeroDivisionError) as error:
                why = f"its figures lack {error!r}"
        rows.append(Row(benchmark.name, measure.name, value, why, seconds, when, load))
    return rows


def ended(arguments: Sequence[str], limit: float) -> str:
    """Run a Python program in a process group of its own, and return why it failed, "" if it did not.

    Args:
        arguments: its arguments.
        limit: seconds, after which it and its children are killed.
    """
    if limit < 1:
        return "no time was left for it; run it with --only"
    with tempfile.TemporaryFile() as said, sigterm_interrupts():
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return f"took more than {limit:.0f} s"
        except BaseException:
            os.killpg(process.pid, 9)
            raise
        if code == 0:
            return ""
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return f"ended with code {code}: {(lines or ['it said nothing'])[-1][:TAIL_CHARS]}"


def verdict(measure: Measure, row: Row, kept: float | None) -> str:
    """Return what a row says: `failed`, `REGRESSION`, `below the goal` or `ok`."""
    if row.value is None:
        return "failed"
    if kept is not None and measure.worse(row.value, kept):
        return "REGRESSION"
    return "ok" if measure.reaches(row.value) else "below the goal"


def table(rows: Sequence[Row], kept: Mapping[str, float]) -> str:
    """Return the table in Markdown.

    Args:
        rows: its rows.
        kept: the kept table's values by measure.
    """
    measures = {measure.name: measure for benchmark in BENCHMARKS for measure in benchmark.measures}
    lines = ["| ratio | now | goal | kept | |", "| --- | ---: | ---: | ---: | --- |"]
    for row in rows:
        measure = measures[row.measure]
        before = kept.get(row.measure)
        sign = "≥" if measure.better == "higher" else "≤"
        said = verdict(measure, row, before) + (f": {row.failure}" if row.failure else "")
        cells = [row.measure, written(row.value), f"{sign} {measure.goal:g}", written(before), said]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def written(value: float | None) -> str:
    """Return a ratio with three digits."""
    return "" if value is None else f"{value:.3g}"


def read_rows(path: Path) -> list[Row]:
    """Return the rows that `write_rows` wrote, without measures that are gone; none if there is no file."""
    if not path.is_file():
        return []
    known = {measure.name for benchmark in BENCHMARKS for measure in benchmark.measures}
    rows = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    return [row for row in rows if row.measure in known]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON."""
    text = json.dumps({"cores": os.cpu_count(), "rows": [asdict(row) for row in rows]}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Return all rows in the order of `BENCHMARKS`, the new one where both have it."""
    by_name = {row.measure: row for row in (*old, *new)}
    names = [measure.name for benchmark in BENCHMARKS for measure in benchmark.measures]
    return [by_name[name] for name in names if name in by_name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", "--json", type=Path, default=Path("bench.json"), help="JSON file (bench.json)")
    parser.add_argument("--minutes", type=float, default=15.0, help="for all of them together (15)")
    parser.add_argument("--keep", action="store_true", help=f"put what is measured into {KEPT.name}")
    parser.add_argument("--show", action="store_true", help="print the table of --out, and run nothing")
    args = parser.parse_args()
    kept = {row.measure: row.value for row in read_rows(KEPT) if row.value is not None}
    rows = read_rows(args.out)
    until = time.monotonic() + args.minutes * 60
    for benchmark in () if args.show else BENCHMARKS:
        if benchmark.name in args.only:
            print(f"{benchmark.name} ...", file=sys.stderr, flush=True)
            new = run(benchmark, until - time.monotonic())
            print(f"{benchmark.name}: {new[0].seconds:.0f} s {new[0].failure}", file=sys.stderr, flush=True)
            rows = merged(read_rows(args.out), new)  # read again: another one may have measured others meanwhile
            write_rows(args.out, rows)
            if args.keep:
                write_rows(KEPT, merged(read_rows(KEPT), [row for row in new if row.value is not None]))
    print(table(rows, kept))
    measures = {measure.name: measure for benchmark in BENCHMARKS for measure in benchmark.measures}
    bad = [
        row for row in rows if verdict(measures[row.measure], row, kept.get(row.measure)) in ("failed", "REGRESSION")
    ]
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
