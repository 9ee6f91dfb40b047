"""What does a run do when its disk is full? `python benchmarks/full_disk.py [--places 18] [--json FILE]`. No model hub.

A small `longmab fit` (a tiny random model, scripted answers, an evaluation after each round) runs in a file system of
its own in memory, once to list the places at which it writes: files opened for writing, folders made. Then it runs once
for each place: just before that write the file system is filled to the last byte, so that the write itself fails as on
a full disk. Afterwards the room is made again and the same command continues, with `--ckpt_path last` once there is a
checkpoint. Counted are

said      the command ended with status 2 and a message that names the file, or the run's folder, and how to go on
went on   the file is not needed for the run (a picture, a page): it ended with status 0
bare      a traceback, or a message without them: the goal is 0

and of the continued runs those whose adapter and report differ from the undisturbed run's (`lost`: the goal is 0).

It needs `unshare` and the right to mount a tmpfs (a user name space is enough).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from longmab_pl.storage.files import PARTIAL, atomic_write

INSIDE = "LONGMAB_FULL_DISK_MOUNT"
"""Set in the process that has the name space of its own: the folder on which file systems are mounted."""

SIZE_MB = 48
LOADED_ONCE = (
    *(f"longmab_pl.{name}" for name in ("cli.lightning", "rollout.round", "evaluation.qa", "engines.scripted")),
    "longmab_pl.training.module",
    "transformers.models.llama.modeling_llama",
    "torch.utils.tensorboard",
    "peft.tuners.lora",
    "matplotlib.figure",
)
"""Modules that all runs share, because each is a fork of this process."""
ANSWERS = """
def say(request, i):
    first, _, pull = request.id.partition("/")
    if not first.isdigit():
        return " nothing"
    right = (int(first) + int(pull)) % 3 == 0
    return f" number {int(first) * 10}" if right else f" number {int(first) * 10 + 1 + int(pull)} or so"
"""


@dataclass(frozen=True)
class Outcome:
    """What followed a full disk.

    Args:
        place: the write that failed, numbers in names written as N.
        result: `said`, `went on` or `bare`.
        message: the last line that the command wrote.
        same: whether the continued run ended as the undisturbed one.
    """

    place: str
    result: str
    message: str
    same: bool


def place_of(path: str, run: Path) -> str | None:
    """Return the name of a place, the same in each run; None outside of the run folder."""
    try:
        inside = Path(path).relative_to(run)
    except ValueError:
        return None
    name = re.sub(r"\d+-[0-9a-f]{16}", "N-F", str(inside).replace(PARTIAL, "")) or "."
    return re.sub(r"events\.out\.tfevents.*", "events", re.sub(r"\d{3,}", "N", name))


def watch_writes(run: Path, at: Callable[[str], None]) -> None:
    """Call `at` before each file is opened for writing and each folder is made in `run`; cannot be undone."""
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            writes = any(c in (args[1] or "") for c in "wax+") if isinstance(args[1], str) else bool(args[2] & flags)
            if not writes:
                return
        elif event != "os.mkdir":
            return
        place = place_of(os.path.abspath(os.fsdecode(args[0])), run)
        if place is not None:
            at(place)

    sys.addaudithook(hook)


def fill(folder: Path) -> None:
    """Leave no byte free on the folder's file system."""
    descriptor = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
    size = 2**20
    while size:
        try:
            os.write(descriptor, b"\0" * size)
        except OSError:
            size //= 2
    os.close(descriptor)


def in_child(work: Callable[[], None], log: Path) -> int:
    """Run `work` in a forked process with its output in `log`; return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            work()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0) if isinstance(end.code, int) or end.code is None else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Runs:
    """Runs of one small config, each in a fresh file system.

    Args:
        folder: for the model, the data, and the place where file systems are mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.run = self.disk / "run"
        self.log = folder / "log"
        self.disk.mkdir()
        (folder / "full_disk_answers.py").write_text(ANSWERS)
        sys.path.insert(0, str(folder))
        for module in LOADED_ONCE:
            import_module(module)
        self.config = self._write_config(folder)

    def _write_config(self, folder: Path) -> Path:
        from transformers import LlamaConfig, LlamaForCausalLM

        from longmab_pl.models.hub import resolve_model
        from longmab_pl.models.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(resolve_model("bundled:smollm2-135m-instruct"))
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes)).save_pretrained(
            folder / "model"
        )
        tokenizer.save_pretrained(folder / "model")
        with (folder / "qa.jsonl").open("w") as file:
            for i in range(4):
                context = " ".join(f"Place {j} lies on river number {i * 10 + j}." for j in range(8))
                row = {"id": i, "input": f"Which river at {i}?", "answer": f"number {i * 10}", "context": context}
                file.write(json.dumps(row) + "\n")
        engine = {"class_path": "longmab_pl.engines.ScriptedEngine", "init_args": {"answer": "full_disk_answers.say"}}
        suite = {
            "class_path": "longmab_pl.evaluation.QASuite",
            "init_args": {"data": str(folder / "qa.jsonl"), "limit": 2, "sampling": {"max_tokens": 8}},
        }
        config = {
            "seed_everything": 0,
            "trainer": {
                "accelerator": "cpu",
                "default_root_dir": str(self.run),
                "enable_progress_bar": False,
                "callbacks": [
                    {
                        "class_path": "longmab_pl.callbacks.Evaluation",
                        "init_args": {"suite": suite, "keep_best": "best_adapter"},
                    }
                ],
            },
            "checkpoint": {"every_n_train_steps": 2},
            "model": {
                "model": str(folder / "model"),
                "dtype": "fp32",
                "gradient_checkpointing": False,
                "precompute_reference": True,
                "lora": {"r": 2, "alpha": 4},
            },
            "data": {
                "class_path": "longmab_pl.RolloutDataModule",
                "init_args": {
                    "train": str(folder / "qa.jsonl"),
                    "rounds": 2,
                    "verify_sync": False,
                    "engine": engine,
                    "prompt_format": "longmab_pl.prompts.DirectAnswer",
                    "strategy": {
                        "class_path": "longmab_pl.strategies.BanditRollout",
                        "init_args": {
                            "pulls": 3,
                            "top_k": 1,
                            "init": "uniform",
                            "chunking": {"chunk_size": 40, "overlap": 0, "min_sentences": 1},
                            "sampling": {"max_tokens": 8, "presence_penalty": 0.0},
                        },
                    },
                    "pairs": {"class_path": "longmab_pl.pairs.BestWorst", "init_args": {"max_prompt_length": 300}},
                },
            },
        }
        path = folder / "config.json"
        path.write_text(json.dumps(config))
        return path

    def fresh(self) -> None:
        """Mount an empty file system."""
        subprocess.run(["umount", str(self.disk)], check=False, capture_output=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(self.disk)], check=True)

    def fit(self, at: Callable[[str], None] | None = None) -> int:
        """Run the command, `at` before each write; return its exit status."""
        resume = ["--ckpt_path", "last"] if (self.run / "checkpoints" / "last.ckpt").is_file() else []

        def work() -> None:
            from longmab_pl.cli.main import main

            if at is not None:
                watch_writes(self.run, at)
            main(["fit", "--config", str(self.config), *resume])

        return in_child(work, self.log)

    def ended(self) -> tuple[bytes, Any]:
        """Return what a finished run leaves: the adapter's weights and the report's rounds and evaluations."""
        weights = self.run / "adapter" / "adapter_model.safetensors"
        report = json.loads((self.run / "report.json").read_text())
        rounds = [{name: value for name, value in row.items() if name != "folder"} for row in report["rounds"]]
        scores = [(row["when"], row["step"], row["scores"]) for row in report["evaluations"]]
        return weights.read_bytes() if weights.is_file() else b"", (rounds, scores)


def measure(runs: Runs, most: int | None = None, only: Sequence[str] = ()) -> Iterator[Outcome]:
    """Yield what follows a full disk at each place, at `most` of them, evenly chosen, or at the named ones."""
    runs.fresh()
    listed = runs.folder / "places"
    listed.write_text("")

    def remember(place: str) -> None:
        with listed.open("a") as file:
            file.write(place + "\n")

    if runs.fit(remember) != 0:
        raise SystemExit(f"the undisturbed run failed:\n{runs.log.read_text()[-2000:]}")
    whole = runs.ended()
    places = list(dict.fromkeys(listed.read_text().splitlines()))
    if unknown := set(only) - set(places):
        raise SystemExit(f"no such place: {', '.join(sorted(unknown))}; there are {', '.join(places)}")
    if only:
        places = [place for place in places if place in only]
    elif most is not None and most < len(places):
        places = [places[i * len(places) // most] for i in range(most)]
    for place in places:
        runs.fresh()
        filled = False

        def fill_at(reached: str, place: str = place) -> None:
            nonlocal filled
            if reached == place and not filled:
                filled = True
                fill(runs.disk)

        status = runs.fit(fill_at)
        said = runs.log.read_text()
        (runs.disk / "filler").unlink()
        lines = [line for line in said.splitlines() if line.strip()]
        last = next((line for line in reversed(lines) if line.startswith("error:")), lines[-1] if lines else "")
        named = str(runs.run) in last and "run the same command again" in last and "Traceback" not in said
        if not named and status != 0:
            print(said[-3000:], file=sys.stderr)
        result = "went on" if status == 0 else "said" if status == 2 and named else "bare"
        again = runs.fit()
        same = again == 0 and runs.ended() == whole
        if again != 0:
            print(runs.log.read_text()[-3000:], file=sys.stderr)
        elif not same:
            print(f"continued: {runs.ended()[1]}\nundisturbed: {whole[1]}", file=sys.stderr)
        yield Outcome(place, result, last[:400], same)


def in_own_name_space(folder: Path, args: list[str]) -> int:
    """Run this program again where it may mount; return its exit status."""
    command = ["unshare", "-Urm", sys.executable, __file__, *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", INSIDE: str(folder)}
    return subprocess.run(command, env=environment, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, help="only this many places, evenly chosen")
    parser.add_argument("--only", nargs="+", default=[], help="only these places, such as run.json")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    if INSIDE not in os.environ:
        folder = Path(tempfile.mkdtemp())
        try:
            raise SystemExit(in_own_name_space(folder, sys.argv[1:]))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    outcomes = []
    for outcome in measure(Runs(Path(os.environ[INSIDE])), args.places, args.only):
        outcomes.append(outcome)
        print(
            f"{outcome.result:8} {'same' if outcome.same else 'LOST':5} {outcome.place}: {outcome.message}", flush=True
        )
    counts = Counter(outcome.result for outcome in outcomes)
    lost = sum(not outcome.same for outcome in outcomes)
    print(f"{len(outcomes)} places: " + ", ".join(f"{n} {name}" for name, n in counts.items()) + f"; lost {lost}")
    if args.json:
        with atomic_write(args.json) as file:
            json.dump([asdict(outcome) for outcome in outcomes], file, indent=2)
    raise SystemExit(1 if lost or counts["bare"] else 0)


if __name__ == "__main__":
    main()
