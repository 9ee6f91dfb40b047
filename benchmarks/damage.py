"""Does the package believe damaged files? `python benchmarks/damage.py [--times 150] [--json FILE]`. No model runs.

Every file that a run leaves is damaged in six ways, each time at another place, and read as the package reads it. What
may follow:

same      the damage changes nothing that is read
named     what is damaged counts as not there, and is asked for again or made again; the rest is right
refused   one error that names the file
believed  something else was read than was written, without a word: the goal is 0
traceback an error that is not the package's own: the goal is 0

How a whole command goes on from there is tested in tests/cli/test_pairs.py and tests/callbacks/test_checkpoint.py.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from longmab_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import POLICY, Completion, Request, Sampling
from longmab_pl.engines.scripted import ScriptedEngine
from longmab_pl.errors import LongMabError
from longmab_pl.evaluation.predictions import Prediction, PredictionFile
from longmab_pl.evaluation.results import EvaluationResult
from longmab_pl.models.adapter_files import check_adapter, write_checksums
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.pairs import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.reporting.run_report import RunReport, load_report
from longmab_pl.rewards import AnswerMatch
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.rollout_log import RolloutFile, RolloutLog
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import FORMAT, RoundFolder
from longmab_pl.storage.append_log import AppendLog, read_fingerprint, read_rows
from longmab_pl.strategies import BanditRollout
from longmab_pl.strategies.bandit.strategy import Chunking
from longmab_pl.training.reference_store import REFERENCES

FINGERPRINT = "0123456789abcdef"
RECORDS = [QARecord(f"r{i}", f"Which river at {i}?", (f"number {i}",), f"River number {i}. " * 20) for i in range(8)]
REQUESTS = [Request(f"r{i}/0", (1, 2, i), Sampling()) for i in range(40)]
OUTCOMES = ("same", "named", "refused", "believed", "traceback")

Damage = Callable[[bytes, random.Random], bytes]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """One bit is another."""
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return content[: rng.randrange(len(content))]


def cut_at_a_line(content: bytes, rng: random.Random) -> bytes:
    """Whole lines are missing at the end."""
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: rng.randrange(len(lines))])


def zeros(content: bytes, rng: random.Random) -> bytes:
    """A block is zeros, as after a power cut."""
    start, size = rng.randrange(len(content)), rng.choice((16, 512, 4096))
    return content[:start] + bytes(min(size, len(content) - start)) + content[start + size :]


def bytes_out(content: bytes, rng: random.Random) -> bytes:
    """A few bytes in the middle are missing; two lines may become one."""
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randint(1, 64) :]


def empty(_: bytes, __: random.Random) -> bytes:
    """Nothing is left."""
    return b""


WAYS: dict[str, Damage] = {
    "one bit": flipped,
    "cut": cut,
    "cut at a line": cut_at_a_line,
    "zeros": zeros,
    "bytes out": bytes_out,
    "empty": empty,
}


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        name: of it.
        path: the file, below the folder.
        read: gives what the package reads in the folder: one value, or a value by name where parts may be missing.
    """

    name: str
    path: str
    read: Callable[[Path], Any]


def write_everything(folder: Path) -> list[Kind]:
    """Write a file of each kind as a run does; return how each is read."""
    store = _round(folder)
    round_path = store.folder.relative_to(folder)
    (folder / "log").mkdir()
    with RolloutLog(folder / "log" / "rollouts.partial.jsonl", FINGERPRINT) as log:
        rollouts = RolloutFile(store.rollouts)
        for name in rollouts:
            log.add(rollouts.read(name))
    journal = Journal(folder / "log" / "completions.jsonl", FINGERPRINT)
    journal.append((r, Completion(r.id, (f"Answer: Ünïcode {r.id}",), ("stop",), (5,), 3)) for r in REQUESTS)
    journal.close()
    predictions = PredictionFile(folder / "evaluation", "qa", {"model": "tiny", "seed": 0})
    for record in RECORDS:
        prediction = Prediction(record.id, "d", f"Answer: {record.answer}", "stop", 10, 3, cut=False)
        predictions.append(prediction, {"answers": list(record.answers)}, {"f1": 1.0})
    predictions.close()
    EvaluationResult("tiny", {}, {"f1": 51.25}, {"f1": (40.5, 60.25)}).save(folder / "evaluation" / "result.json")
    RunReport([{"round": 1, "train/loss": 0.6931, "folder": "000"}], []).save(folder)
    references = AppendLog(folder / "log" / "reference_logps-0.jsonl", REFERENCES, FINGERPRINT, lambda row, place: None)
    references.write({"pair": str(i), "chosen": -1.5 * i, "rejected": -2.25 * i} for i in range(8))
    references.close()
    weights = {f"layer.{i}": torch.randn(8, 8, generator=torch.Generator().manual_seed(i)) for i in range(4)}
    AtomicCheckpointIO().save_checkpoint({"state_dict": weights, "global_step": 7}, folder / "last.ckpt")
    (folder / "adapter").mkdir()
    save_file(weights, folder / "adapter" / "adapter_model.safetensors")
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}, indent=2))
    write_checksums(folder / "adapter")
    return [
        Kind("completions.jsonl", "log/completions.jsonl", _journal),
        Kind("rollouts.partial.jsonl", "log/rollouts.partial.jsonl", _rollout_log),
        Kind("rollouts.jsonl", str(round_path / "rollouts.jsonl"), _files_of_round),
        Kind("pairs.jsonl", str(round_path / "pairs.jsonl"), _files_of_round),
        Kind("round.json", str(round_path / "round.json"), _files_of_round),
        Kind("settings.json", str(round_path / "settings.json"), _files_of_round),
        Kind("reference_logps-0.jsonl", "log/reference_logps-0.jsonl", _references),
        Kind("qa.jsonl (predictions)", "evaluation/qa.jsonl", _predictions),
        Kind("qa.settings.json", "evaluation/qa.settings.json", _predictions),
        Kind(
            "result.json", "evaluation/result.json", lambda f: EvaluationResult.load(f / "evaluation" / "result.json")
        ),
        Kind("report.json", "report.json", lambda f: load_report(f)),
        Kind("last.ckpt", "last.ckpt", _checkpoint),
        Kind("adapter_model.safetensors", "adapter/adapter_model.safetensors", _adapter),
        Kind("adapter_config.json", "adapter/adapter_config.json", _adapter),
    ]


def _round(folder: Path) -> RoundFolder:
    tokenizer = load_tokenizer(resolve_model("bundled:smollm2-135m-instruct"))
    strategy = BanditRollout(pulls=4, top_k=2, init="uniform", chunking=Chunking(60, 0, 1), sampling=Sampling())
    plan = RoundPlan(strategy, (AnswerMatch(),), DirectAnswer(), BestWorst(), Embedder())
    store = RoundFolder(folder, 0, FINGERPRINT)
    making = Round(plan, store, RECORDS, tokenizer, {"format": FORMAT, "model": "tiny", "seed": 0})
    engine = ScriptedEngine(lambda request, i: f" number {len(request.id + str(request.seed)) % 2}")
    making.roll_out({POLICY: engine})
    making.finish("step-000000")
    return store


def _journal(folder: Path) -> dict[str, Any]:
    journal = Journal(folder / "log" / "completions.jsonl", FINGERPRINT)
    try:
        return {r.id: known for r in REQUESTS if (known := journal.get(r)) is not None}
    finally:
        journal.close()


def _rollout_log(folder: Path) -> dict[str, Any]:
    with RolloutLog(folder / "log" / "rollouts.partial.jsonl", FINGERPRINT) as log:
        return {name: log.read(name) for name in log}


def _files_of_round(folder: Path) -> Any:
    store = RoundFolder(folder, 0, FINGERPRINT)
    damage = store.damage()
    if damage is not None:
        raise LongMabError(damage)
    texts = [path.read_bytes() for path in (store.pairs, store.rollouts)]
    return texts, store.read_summary(), store.read_settings()


def _references(folder: Path) -> dict[str, Any]:
    file = folder / "log" / "reference_logps-0.jsonl"
    if read_fingerprint(file, REFERENCES) != FINGERPRINT:
        return {}
    return {row["pair"]: row for _, _, row in read_rows(file) if row is not None}


def _predictions(folder: Path) -> dict[str, Any]:
    file = PredictionFile(folder / "evaluation", "qa", {"model": "tiny", "seed": 0})
    return {prediction.id: prediction for prediction in file.finished.values()}


def _checkpoint(folder: Path) -> Any:
    loaded = AtomicCheckpointIO().load_checkpoint(folder / "last.ckpt", weights_only=True)
    return loaded["global_step"], {name: tensor.tolist() for name, tensor in loaded["state_dict"].items()}


def _adapter(folder: Path) -> Any:
    return [path.read_bytes() for path in check_adapter(folder / "adapter")]


def outcome(kind: Kind, folder: Path, right: Any) -> str:
    """Read a damaged file and say what came of it."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = kind.read(folder)
    except LongMabError as error:
        return "refused" if Path(kind.path).name in str(error) else "traceback"
    except Exception:
        return "traceback"
    if found == right:
        return "same"
    parts = isinstance(found, dict) and isinstance(right, dict)
    return "named" if parts and all(right.get(name) == value for name, value in found.items()) else "believed"


def measure(times: int, seed: int = 0) -> dict[str, dict[str, dict[str, int]]]:
    """Damage every kind of file in every way, so many times each.

    Returns:
        Counts of outcomes by kind and way.
    """
    counts: dict[str, dict[str, dict[str, int]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        whole, damaged = Path(temporary) / "whole", Path(temporary) / "damaged"
        whole.mkdir()
        with contextlib.redirect_stderr(io.StringIO()):
            kinds = write_everything(whole)
        for kind in kinds:
            content, right = (whole / kind.path).read_bytes(), kind.read(whole)
            counts[kind.name] = {}
            for way, damage in WAYS.items():
                rng = random.Random(f"{seed} {kind.name} {way}")
                seen: Counter[str] = Counter()
                for _ in range(times if damage is not empty else 1):
                    shutil.rmtree(damaged, ignore_errors=True)
                    shutil.copytree(whole, damaged)
                    (damaged / kind.path).write_bytes(damage(content, rng))
                    seen[outcome(kind, damaged, right)] += 1
                counts[kind.name][way] = dict(seen)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=150, help="damages of each kind and way (default: 150)")
    parser.add_argument("--seed", type=int, default=0, help="of their places (default: 0)")
    parser.add_argument("--json", type=Path, default=None, help="file for the counts")
    arguments = parser.parse_args()
    counts = measure(arguments.times, arguments.seed)
    totals: Counter[str] = Counter()
    for kind, by_way in counts.items():
        for way, seen in by_way.items():
            totals.update(seen)
            said = ", ".join(f"{name} {seen[name]}" for name in OUTCOMES if name in seen)
            print(f"{kind:<28}{way:<16}{said}")
    print(f"{sum(totals.values())} damages: " + ", ".join(f"{name} {totals[name]}" for name in OUTCOMES))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
