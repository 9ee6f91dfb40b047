"""Rollouts on a Ray cluster: responses a second by number of workers, and a computed plan for 64 GPUs.

    python benchmarks/ray_rollout.py                          # 1, 2 and 4 workers on this machine
    python benchmarks/ray_rollout.py --workers 1 2 4 8 --seconds 1 --json ray.json
    python benchmarks/ray_rollout.py --plan                   # 100,000 records on 64 GPUs: nothing is run

The engine waits and computes nothing: every answer comes a fixed time after its request, so one machine holds several
engines, as several machines would. What is measured is this package and Ray: handing out records, running strategies,
journals, collecting rollouts. A row is timed from the first record to the last: engines start when all workers have.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Completion, Request, Sampling
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.rollout.runner import EngineFacts, RecordRunner, Result
from longmab_pl.rollout.scheduler import Progress
from longmab_pl.rollout.session import RecordSelection, RolloutSession
from longmab_pl.storage.files import atomic_write
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking

MODEL = "bundled:smollm2-135m-instruct"
"""Its tokenizer is used; its weights are not loaded."""

PULLS = 8
CONCURRENCY = 8


def answer(request: Request, i: int) -> str:
    """Right now and then, drawn by the request's id."""
    return f" number {random.Random(request.id).randrange(4)}"


class WaitingEngine(ScriptedEngine):
    """Answers every request a fixed time after it was submitted, and computes nothing meanwhile.

    Args:
        seconds: that time.
        ready: folder in which every engine leaves a file when it has started.
        engines: number of engines; each waits until all have started.
    """

    def __init__(self, seconds: float, ready: Path, engines: int) -> None:
        super().__init__(answer, concurrency=CONCURRENCY, jitter=1)
        self.seconds = seconds
        self.ready = ready
        self.engines = engines
        self._due_at: dict[str, float] = {}

    def start(self, model: str) -> None:
        super().start(model)
        (self.ready / str(os.getpid())).touch()
        while len(list(self.ready.iterdir())) < self.engines:
            time.sleep(0.05)

    def submit(self, request: Request) -> None:
        super().submit(request)
        self.asked.clear()
        self._due_at[request.id] = time.monotonic() + self.seconds

    def poll(self) -> list[Completion]:
        """Wait until the next answer is due, for 50 ms at most, and return all that are."""
        self._begin()
        soonest = min(self._due_at.values(), default=0.0)
        time.sleep(min(max(soonest - time.monotonic(), 0.0), 0.05))
        now = time.monotonic()
        due = [name for name, at in self._due_at.items() if at <= now]
        for name in due:
            del self._due_at[name]
        return [self._complete(self._state.in_flight.pop(name)) for name in due]


class Timed:
    """A runner that times the records.

    Args:
        inner: the runner, whose engines have started.
    """

    def __init__(self, inner: RecordRunner) -> None:
        self.inner = inner
        self.facts: Mapping[str, EngineFacts] = inner.facts
        self.began = self.ended = 0.0

    @property
    def progress(self) -> Progress:
        return self.inner.progress

    def run(self, records: Iterable[QARecord | None], on_progress: Callable[[Progress], None]) -> Iterator[Result]:
        self.began = time.monotonic()
        yield from self.inner.run(records, on_progress)
        self.ended = time.monotonic()

    def close(self) -> None:
        self.inner.close()


def write_records(path: Path, count: int) -> None:
    """Write questions over short contexts of eight sentences."""
    with atomic_write(path) as file:
        for i in range(count):
            context = " ".join(f"Place {j} of land {i} lies on river number {i + j}." for j in range(8))
            row = {"id": str(i), "input": f"Which river at {i}?", "answer": "number 1", "context": context}
            file.write(json.dumps(row) + "\n")


def session_of(records: Path, engine: WaitingEngine) -> RolloutSession:
    """Return a session with the paper's bandit over small chunks."""
    strategy = BanditRollout(
        pulls=PULLS, top_k=2, init="uniform", chunking=Chunking(40, 0, 1), sampling=Sampling(max_tokens=16)
    )
    plan = RoundPlan(strategy, (AnswerMatch(),), DirectAnswer(), BestWorst(600), Embedder())
    return RolloutSession(plan, RecordSelection(str(records)), engine)


def timed_round(folder: Path, workers: int, seconds: float, per_worker: int) -> dict[str, Any]:
    """Return the responses a second of one round; 0 workers are this process without Ray."""
    from longmab_pl.rollout.cluster.round import cluster_job
    from longmab_pl.rollout.cluster.runner import ClusterRunner

    records = folder / f"qa-{workers}.jsonl"
    write_records(records, per_worker * max(workers, 1))
    ready = folder / f"ready-{workers}"
    ready.mkdir()
    engine = WaitingEngine(seconds, ready, max(workers, 1))
    session = session_of(records, engine)
    session.load(MODEL, show=False)
    making = session.new_round(folder / f"run-{workers}", 0, MODEL, "base")
    timed: list[Timed] = []

    def of(runner: RecordRunner) -> Timed:
        timed.append(Timed(runner))
        return timed[-1]

    if workers == 0:
        engine.start(MODEL)
        with session.serving(making, adapter=None) as served:
            making.run(lambda journal: of(making.local_runner(served, journal, None)), "in this process")
    else:
        job = cluster_job(session, making, model=MODEL, adapter=None)
        making.run(
            lambda journal: of(ClusterRunner(job, [engine] * workers, 0.0, len(making.records))), f"{workers} workers"
        )
    spent = timed[0].ended - timed[0].began
    responses = len(making.records) * PULLS
    assert timed[0].progress.responses == responses
    return {"workers": workers, "records": len(making.records), "responses": responses, "seconds": spent}


def measured(workers: list[int], seconds: float, per_worker: int) -> list[dict[str, Any]]:
    """Return a row for each number of workers, printed as they come."""
    from longmab_pl.rollout.cluster.connection import connected
    from longmab_pl.rollout.cluster.settings import ClusterSettings

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, connected(ClusterSettings("local")):
        for count in workers:
            row = timed_round(Path(folder), count, seconds, per_worker)
            row["per_second"] = row["responses"] / row["seconds"]
            row["of_full"] = row["per_second"] / (max(count, 1) * CONCURRENCY / seconds)
            one = next((other for other in rows if other["workers"] == 1), None)
            row["scaling"] = row["per_second"] / (count * one["per_second"]) if one and count else None
            rows.append(row)
            print(
                f"{count} workers: {row['per_second']:.1f} responses/s, {row['of_full']:.0%} of what the engines give"
                + ("" if row["scaling"] is None else f", scaling {row['scaling']:.2f}"),
                flush=True,
            )
    return rows


@dataclass(frozen=True)
class Plan:
    """A rollout on many GPUs, computed from sizes and peak rates. The defaults are Llama-3.1-8B on H100s of 80 GB.

    Args:
        records, pulls: how many answers.
        prompt_tokens, answer_tokens: of each answer.
        gpus: each with an engine of its own.
        parameters: weights of the model.
        layers, width, kv_bytes: of its attention; bytes of the KV cache for a token.
        weight_bytes: bytes of the weights.
        flops, bandwidth: the GPU's dense bf16 FLOP/s and memory bytes/s at its peak.
        flops_share, bandwidth_share: what of the peaks an engine reaches: assumptions.
        cache_bytes: memory of the KV cache.
        dollars: price of a GPU hour, an assumption.
    """

    records: int = 100_000
    pulls: int = 30
    prompt_tokens: int = 16_000
    answer_tokens: int = 200
    gpus: int = 64
    parameters: float = 8.03e9
    layers: int = 32
    width: int = 4096
    kv_bytes: int = 131_072
    weight_bytes: float = 16.1e9
    flops: float = 989e12
    bandwidth: float = 3.35e12
    flops_share: float = 0.45
    bandwidth_share: float = 0.6
    cache_bytes: float = 47e9
    dollars: float = 2.5

    @property
    def answers(self) -> int:
        return self.records * self.pulls

    def prefill_per_second(self) -> float:
        """Prompt tokens a second of one GPU: two FLOPs for each weight, and attention to half the prompt on average."""
        attention = 4 * self.layers * self.width * self.prompt_tokens / 2
        return self.flops * self.flops_share / (2 * self.parameters + attention)

    def together(self) -> int:
        """Answers that one GPU's KV cache holds."""
        return int(self.cache_bytes / self.kv_bytes / (self.prompt_tokens + self.answer_tokens))

    def decode_per_second(self) -> float:
        """Generated tokens a second of one GPU: a step reads the weights and the whole KV cache once."""
        read = self.weight_bytes + self.together() * self.prompt_tokens * self.kv_bytes
        return self.together() * self.bandwidth * self.bandwidth_share / read

    def hours(self, prefix_hits: float) -> tuple[float, float]:
        """Return the hours of prefill and of decoding.

        Args:
            prefix_hits: share of the prompt tokens that the prefix cache saves, in 0..1.
        """
        prompts = self.answers * self.prompt_tokens * (1 - prefix_hits) / self.gpus
        answers = self.answers * self.answer_tokens / self.gpus
        return prompts / self.prefill_per_second() / 3600, answers / self.decode_per_second() / 3600


def print_plan(plan: Plan) -> None:
    """Print the hours and the cost of a plan for several shares of prefix hits."""
    print(
        f"{plan.answers:,} answers, {plan.answers * plan.prompt_tokens / 1e9:.0f} billion prompt tokens, "
        f"{plan.answers * plan.answer_tokens / 1e9:.2f} billion generated; one GPU: {plan.prefill_per_second():,.0f} "
        f"prompt tokens/s, {plan.together()} answers at once, {plan.decode_per_second():,.0f} generated tokens/s"
    )
    print("prefix hits  prefill h  decode h  together h  GPU hours  $       responses/s")
    for hits in (0.0, 0.42, 0.66):
        prefill, decode = plan.hours(hits)
        hours = prefill + decode
        print(
            f"{hits:>11.0%}  {prefill:>9.1f}  {decode:>8.1f}  {hours:>10.1f}  {hours * plan.gpus:>9,.0f}  "
            f"{hours * plan.gpus * plan.dollars:>6,.0f}  {plan.answers / hours / 3600:>11.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4], help="0: this process without Ray")
    parser.add_argument("--seconds", type=float, default=1.0, help="time of one answer")
    parser.add_argument("--per-worker", type=int, default=40, help="records for each worker")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--plan", action="store_true", help="print the computed plan, and run nothing")
    options = parser.parse_args()
    if options.plan:
        print_plan(Plan())
        return
    rows = measured(options.workers, options.seconds, options.per_worker)
    if options.json:
        with atomic_write(options.json) as file:
            file.write(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
