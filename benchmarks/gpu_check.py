"""What a GPU does with this package, in one command of at most 8 minutes, as a table and as JSON.

    python benchmarks/gpu_check.py --out gpu_check.json
    python benchmarks/gpu_check.py --toy                       # the same on a CPU, tiny, to see that it runs
    python benchmarks/gpu_check.py --only attention vllm       # some steps
    python benchmarks/gpu_check.py --show gpu_check.json
    python benchmarks/gpu_check.py --bundle --have pip_list.txt

It checks FlexAttention's kernels against SDPA and float32; the packed DPO step beside the concatenated one and TRL's,
on models with the shapes of Llama 3.1 8B and Qwen 2.5 7B (random weights), bf16 and NF4, prompts of 4k to 32k tokens
with two answers of 400, with the memory that `longmab doctor` predicts beside the measured one; paged 8-bit AdamW;
activation offload; an adapter's export and reload; the Transformers engine; and vLLM: start, weight sync with the
weight-sync check, sleep and wake, and rollout tokens per second beside the engine's own loop.

Every step is a process of its own with a time limit; one that fails, or lacks a package, is a line in the table. The
most decisive steps come first; those for which no time is left are listed. No network is used. Python 3.11+, torch
2.10+ and transformers 5 are enough; the versions found are printed.

`--bundle` prints the command that downloads, on a machine with an index, the packages that another one without an index
lacks; `--have` names a file with that machine's `pip list --format=freeze`.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from gpu_check_steps import STEPS, Setup, Skip, Step  # noqa: E402 - the path comes first

PRELOADED = ["torch", "transformers", "transformers.integrations.flex_attention", "lightning.pytorch"]
"""Imported once for all steps; none of them touches the GPU."""

LEAST_SECONDS = 10
"""A step for which less time is left is not begun."""

PACKAGES = {
    "lightning": "training",
    "lightning-utilities": "training",
    "torchmetrics": "training",
    "jsonargparse": "configuration",
    "typeshed-client": "configuration",
    "docstring-parser": "configuration",
    "peft": "adapters",
    "accelerate": "adapters",
    "datasets": "TRL's input",
    "dill": "datasets",
    "multiprocess": "datasets",
    "trl": "the opponent",
    "bitsandbytes": "NF4 and paged AdamW",
    "rich": "console",
    "openai": "server engine",
}
"""Packages beside torch and transformers that the check imports, and what each is for."""


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Args:
        step: its name.
        status: "ok", "failed", "skipped" or "not run".
        why: the reason, if it is not "ok".
        seconds: how long it ran.
        rows: what it reported, until it failed.
    """

    step: str
    status: str
    why: str
    seconds: float
    rows: tuple[dict[str, Any], ...] = ()


def _child(name: str, setup: Setup, rows: Path, log: Path) -> None:
    """Run the step `name` in this process; its output goes to `log`, its rows to `rows`, one JSON line each."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    with rows.open("a", encoding="utf-8") as file:

        def report(row: dict[str, Any]) -> None:
            file.write(json.dumps(row) + "\n")
            file.flush()

        try:
            next(step for step in STEPS if step.name == name).run(setup, report)
        except Skip as skipped:
            report({"skipped": str(skipped)})
        except BaseException as error:
            traceback.print_exc()
            said = " ".join(str(error).split())
            report({"error": f"{type(error).__name__}: {said[:400]}"})
            raise SystemExit(1) from error


def run_step(step: Step, setup: Setup, seconds: float, logs: Path, context: Any) -> Outcome:
    """Run one step in a process of its own, for at most `seconds`."""
    missing = [name for name in step.needs if importlib.util.find_spec(name) is None]
    if missing:
        return Outcome(step.name, "skipped", f"{', '.join(missing)} not installed", 0.0)
    if step.cuda and setup.device != "cuda":
        return Outcome(step.name, "skipped", "needs a CUDA GPU", 0.0)
    name = step.name.replace(" ", "-")
    rows, log = logs / f"{name}.jsonl", logs / f"{name}.log"
    rows.unlink(missing_ok=True)
    start = time.perf_counter()
    process = context.Process(target=_child, args=(step.name, setup, rows, log), name=step.name)
    process.start()
    process.join(seconds)
    late = process.is_alive()
    if late:
        process.kill()
        process.join()
    took = time.perf_counter() - start
    lines = rows.read_text(encoding="utf-8").splitlines() if rows.is_file() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    errors = [row["error"] for row in found if "error" in row and "ok" not in row]
    skips = [row["skipped"] for row in found if "skipped" in row]
    kept = tuple(row for row in found if set(row) - {"error", "skipped"})
    if skips:
        return Outcome(step.name, "skipped", skips[0], took, kept)
    if late:
        return Outcome(step.name, "failed", f"not done after {seconds:.0f} s", took, kept)
    if errors or process.exitcode:
        why = errors[0] if errors else f"ended with exit code {process.exitcode}; its output is in {log}"
        return Outcome(step.name, "failed", why, took, kept)
    if not all(row.get("ok", True) for row in kept):
        return Outcome(step.name, "failed", "a value is out of its range", took, kept)
    return Outcome(step.name, "ok", "", took, kept)


def medians(rows: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return for each prompt length the median seconds, highest peak and the losses of the timed steps."""
    found: dict[int, dict[str, Any]] = {}
    timed = [row for row in rows if "prompt" in row and not row.get("warm_up", True)]
    for prompt in sorted({row["prompt"] for row in timed}):
        here = [row for row in timed if row["prompt"] == prompt]
        found[prompt] = {
            "seconds": statistics.median(row["seconds"] for row in here),
            "peak": max(row["peak_gib"] for row in here),
            "predicted": here[0]["predicted_gib"],
            "losses": [row["loss"] for row in here],
        }
    return found


def show(outcomes: Sequence[Outcome]) -> None:
    """Print the tables in Markdown."""
    print("| step | result | seconds | |")
    print("| --- | --- | ---: | --- |")
    for outcome in outcomes:
        said = outcome.why or _short(outcome)
        print(f"| {outcome.step} | {outcome.status} | {outcome.seconds:.0f} | {said} |")
    trained = {o.step: medians(o.rows) for o in outcomes if o.step.split()[-1] in ("packed", "concatenated", "trl")}
    if any(trained.values()):
        print("\n| model | system | prompt | pairs/s | TRL = 1 | peak GiB | doctor says | loss differs by |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, lengths in trained.items():
        model, system = name.rsplit(" ", 1)
        trl = trained.get(f"{model} trl", {})
        for prompt, row in lengths.items():
            other = trl.get(prompt) if system != "trl" else None
            ratio = f"{other['seconds'] / row['seconds']:.2f}" if other else ""
            difference = (
                max(abs(a - b) for a, b in zip(row["losses"], other["losses"], strict=False)) if other else None
            )
            cells = [model, system, str(prompt), f"{1 / row['seconds']:.3g}", ratio, f"{row['peak']:.3g}"]
            cells.append(f"{row['predicted']:.3g}" if row["predicted"] else "")
            cells.append("" if difference is None else f"{difference:.1e}")
            print("| " + " | ".join(cells) + " |")


def _short(outcome: Outcome) -> str:
    """Return what a step without a table of its own found, in a few words."""
    if outcome.step.split()[-1] in ("packed", "concatenated", "trl"):
        return ""
    if outcome.step == "attention":
        worst = {kind: max((row.get(kind) or 0.0) for row in outcome.rows) for kind in ("flex_error", "sdpa_error")}
        said = ", ".join(f"{kind[:4]} {value:.1e}" for kind, value in worst.items() if value)
        return f"{len(outcome.rows)} shapes, largest error against float32: {said}"
    parts = []
    for row in outcome.rows:
        for key, value in row.items():
            if key == "versions":
                parts += [f"{name} {version}" for name, version in value.items()]
            elif key != "ok":
                parts.append(f"{key.replace('_', ' ')} {value:.3g}" if isinstance(value, float) else f"{key} {value}")
    return ", ".join(parts)


def bundle(have: Path | None) -> None:
    """Print which packages to carry to a machine without an index, and the command that downloads them."""
    known = set()
    if have is not None:
        known = {line.split("==")[0].strip().lower().replace("_", "-") for line in have.read_text().splitlines()}
    missing = {name: why for name, why in PACKAGES.items() if name not in known}
    if not missing:
        print("that machine has all packages that the check imports")
        return
    for name, why in missing.items():
        print(f"{name:22} {why}")
    print("\non a machine with an index (give the other machine's Python):")
    print(
        "  pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 "
        f"--platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d wheels {' '.join(missing)}"
    )
    print("on the machine without one, in this folder:")
    print("  pip install --no-index --no-deps --target site wheels/*.whl")
    print("  PYTHONPATH=site:. python benchmarks/gpu_check.py")
    print("vLLM is several GB with its needs: without it the vllm step is skipped")


def workdir_for(chosen: Path | None) -> Path:
    """Return the folder for 40 GB of random weights: shared memory where there is room, since it is read at once."""
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        return chosen
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > 48 * 2**30
    return Path(tempfile.mkdtemp(prefix="gpu_check-", dir=shared if roomy else None))


def _gpu_is_lost() -> None:
    """End with 1 if the process that this one was forked from has used the GPU, so that this one cannot."""
    import torch

    raise SystemExit(int(torch.cuda._is_in_bad_fork()))


def process_context() -> Any:
    """Return how to start a step's process: forked from a server that has imported the large packages, or anew.

    PEFT is not among those packages: with it comes bitsandbytes, which asks the GPU for its capability when it is
    imported, and no process forked after that can use the GPU.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    probe = context.Process(target=_gpu_is_lost)
    probe.start()
    probe.join()
    return multiprocessing.get_context("spawn") if probe.exitcode else context


def run_all(
    steps: Sequence[Step], setup: Setup, minutes: float, logs: Path, done: Callable[[Sequence[Outcome]], None]
) -> list[Outcome]:
    """Run the steps one after the other until the time is over; `done` is called after each with all outcomes."""
    context = process_context()
    end = time.monotonic() + 60 * minutes
    outcomes: list[Outcome] = []
    for step in steps:
        left = end - time.monotonic()
        if left < LEAST_SECONDS:
            outcome = Outcome(step.name, "not run", f"no time left; --only {step.name!r} runs it", 0.0)
        else:
            outcome = run_step(step, setup, min(step.seconds, left), logs, context)
        outcomes.append(outcome)
        print(f"{outcome.step}: {outcome.status} {outcome.why} ({outcome.seconds:.0f} s)", file=sys.stderr, flush=True)
        done(outcomes)
    return outcomes


def main() -> None:
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="tiny models on the CPU")
    parser.add_argument("--minutes", type=float, default=8.0, help="time limit of the whole check (default 8)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help=f"some of: {', '.join(names)}")
    parser.add_argument("--prompts", type=int, nargs="+", metavar="TOKENS", help="lengths of training prompts, rising")
    parser.add_argument("--out", type=Path, help="JSON file, written after every step")
    parser.add_argument("--logs", type=Path, help="folder for the steps' own output (default: a new temporary one)")
    parser.add_argument("--workdir", type=Path, help="folder for random weights, kept (default: temporary, removed)")
    parser.add_argument("--show", type=Path, metavar="JSON", help="print the tables of a file and run nothing")
    parser.add_argument("--bundle", action="store_true", help="say which packages to carry to a machine without index")
    parser.add_argument("--have", type=Path, help="with --bundle: `pip list --format=freeze` of that machine")
    args = parser.parse_args()
    if args.bundle:
        bundle(args.have)
        return
    if args.show:
        rows = json.loads(args.show.read_text(encoding="utf-8"))["outcomes"]
        show([Outcome(**row | {"rows": tuple(row["rows"])}) for row in rows])
        return
    import torch

    if not args.toy and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA GPU here; --toy runs the same steps, tiny, on the CPU")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin slow a busy CPU down
    workdir = workdir_for(args.workdir) if not args.toy or args.workdir else Path(tempfile.mkdtemp(prefix="gpu_check-"))
    logs = args.logs or Path(tempfile.mkdtemp(prefix="gpu_check-logs-"))
    logs.mkdir(parents=True, exist_ok=True)
    setup = (
        Setup("cpu", workdir, "random-tiny", "random-tiny-qwen", "random-tiny", (64, 128), 8)
        if args.toy
        else Setup("cuda", workdir, "random-8b", "random-qwen-7b", "random-1b", (4096, 8192, 16384, 32768), 400)
    )

    if args.prompts:
        setup = dataclasses.replace(setup, prompts=tuple(args.prompts))

    def keep(outcomes: Sequence[Outcome]) -> None:
        if args.out:
            found = {"toy": args.toy, "outcomes": [vars(outcome) for outcome in outcomes]}
            args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    steps = [step for step in STEPS if not args.only or step.name in args.only]
    try:
        outcomes = run_all(steps, setup, args.minutes, logs, keep)
    finally:
        if args.workdir is None:
            shutil.rmtree(workdir, ignore_errors=True)
    show(outcomes)
    print(f"\nthe steps' own output: {logs}")
    raise SystemExit(1 if any(outcome.status == "failed" for outcome in outcomes) else 0)


if __name__ == "__main__":
    main()
