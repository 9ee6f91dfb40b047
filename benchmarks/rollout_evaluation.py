"""A rollout and an evaluation in one wake of the engine, in engine steps: no model runs.

    python benchmarks/rollout_evaluation.py
    python benchmarks/rollout_evaluation.py --records 64 --pulls 5 --questions 128 --concurrency 16 --json wake.json

The engine generates one token of every running answer in a step and takes the next request when an answer ends, as vLLM
does; lengths are drawn by the request's id, with a long tail. `one after the other` is the evaluation behind the
rollout, `together` what a run does, `all at once` submits all requests of both together, so nothing has to wait for an
answer: no scheduler can be faster on them. A step costs a GPU about as much with few answers as with many, so ratios of
steps are ratios of time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Completion, Request, RequestStream, Sampling
from longmab_pl.rollout import scheduler
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.storage.files import atomic_write

MEAN, LONGEST = 160, 1024
"""Tokens of an answer, as the bundled model's are (docs/rollouts.md)."""

STEP_SECONDS = 0.001
"""Shortest time of a step, in which a strategy makes its next request; a real step is longer."""


class StepEngine(ScriptedEngine):
    """Generates one token of every running answer in a poll; further requests wait for a free slot.

    Args:
        concurrency: number of slots.
        seed: seed of the lengths.
    """

    def __init__(self, concurrency: int, seed: int) -> None:
        super().__init__(lambda request, i: "an answer", concurrency=concurrency)
        self.seed = seed
        self.steps = 0
        self._running: dict[str, int] = {}
        self._waiting: deque[Request] = deque()

    def submit(self, request: Request) -> None:
        self._waiting.append(request)

    def poll(self) -> list[Completion]:
        while self._waiting and len(self._running) < self.concurrency:
            name = self._waiting.popleft().id
            length = random.Random(f"{self.seed} {name}").expovariate(1 / MEAN)
            self._running[name] = min(max(int(length), 1), LONGEST)
        time.sleep(STEP_SECONDS)
        self.steps += 1
        done = [name for name, left in self._running.items() if left == 1]
        self._running = {name: left - 1 for name, left in self._running.items() if left > 1}
        return [Completion(name, ("an answer",), ("stop",), (1,), 1) for name in done]


def chain(key: str, length: int) -> RequestStream[None]:
    """Requests one after the other, as of a record's pulls."""
    for t in range(length):
        yield [Request(f"{key}/{t}", (1,), Sampling())]


def questions(count: int) -> Iterator[RequestStream[None]]:
    """An evaluation's questions, one request each."""
    return (chain(f"question-{i}", 1) for i in range(count))


def steps(records: int, pulls: int, beside: int, concurrency: int, seed: int) -> int:
    """Engine steps of a rollout with so many questions beside it."""
    engine = StepEngine(concurrency, seed)
    running = Scheduler({"policy": engine}, beside=questions(beside))
    for _ in running.run((f"record-{i}", chain(f"record-{i}", pulls)) for i in range(records)):
        pass
    return engine.steps


def all_at_once(records: int, pulls: int, count: int, concurrency: int, seed: int) -> int:
    """Engine steps of the same requests, submitted together."""
    engine = StepEngine(concurrency, seed)
    names = [f"record-{i}/{t}" for t in range(pulls) for i in range(records)] + [
        f"question-{i}/0" for i in range(count)
    ]
    for name in names:
        engine.submit(Request(name, (1,), Sampling()))
    answered = 0
    while answered < len(names):
        answered += len(engine.poll())
    return engine.steps


def measure(records: int, pulls: int, count: int, concurrency: int, seed: int) -> dict[str, Any]:
    """Steps of the three ways, and shares of `all at once`."""
    alone = steps(records, pulls, 0, concurrency, seed)
    after = steps(0, pulls, count, concurrency, seed)
    row = {
        "rollout": alone,
        "evaluation": after,
        "one_after_the_other": alone + after,
        "together": steps(records, pulls, count, concurrency, seed),
        "all_at_once": all_at_once(records, pulls, count, concurrency, seed),
    }
    return row | {f"{way}_share": row["all_at_once"] / row[way] for way in ("one_after_the_other", "together")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--pulls", type=int, default=5, help="pulls per record")
    parser.add_argument("--questions", type=int, default=128, help="questions of the evaluation")
    parser.add_argument("--concurrency", type=int, default=16, help="responses in the engine at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    args = parser.parse_args()
    # A strategy takes no time beside an engine's step, so the engine waits for it here however busy the machine is.
    scheduler._PATIENCE = None  # type: ignore[assignment]
    rows = [measure(args.records, args.pulls, args.questions, args.concurrency, seed) for seed in range(args.repeats)]
    for row in rows:
        print("  ".join(f"{name} {value:,.2f}" for name, value in row.items()), flush=True)
    median = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    print(
        f"of all at once: {median['one_after_the_other_share']:.1%} one after the other, "
        f"{median['together_share']:.1%} together (medians of {len(rows)})"
    )
    if args.json:
        with atomic_write(args.json) as file:
            file.write(json.dumps({"runs": rows, "median": median}, indent=1) + "\n")


if __name__ == "__main__":
    main()
