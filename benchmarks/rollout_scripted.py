"""The scheduler's own cost: `python benchmarks/rollout.py --scripted` (`--only scheduling`: the first table). No model
runs.

A scripted engine answers after a random number of polls, so what is left is the work of this package: scheduling and
the journal, in the last table also the real strategy with its chunking and tokenizing. Between them stands how much of
a record's prompts repeats. Every row comes from a process of its own, so that resident memory is its own.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from longmab_pl.bandits import BanditSettings
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Completion, Request, Sampling
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.base import RequestStream

T = TypeVar("T")

CONCURRENCY = 256
JITTER = 32
"""An answer takes 1 to JITTER polls: about CONCURRENCY / (JITTER / 2) = 16 answers arrive with each."""
ANSWER = "The passage on the town says that its mayor was elected twice.\nAnswer: Hogrun Grobu"


class Clock:
    """Seconds, and CPU seconds, spent in calls that are handed to it, in one thread."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    def time(self, call: Callable[..., T], *args: Any) -> T:
        start, start_cpu = time.perf_counter(), time.thread_time()
        try:
            return call(*args)
        finally:
            self.seconds += time.perf_counter() - start
            self.cpu_seconds += time.thread_time() - start_cpu

    def generator(self, inner: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """The same generator, its own work timed."""
        answers = None
        while True:
            try:
                requests = self.time(inner.send, answers)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            answers = yield requests


class TimedEngine(ScriptedEngine):
    """Answers each request with the same text, keeps no record of what it was asked, and times itself."""

    def __init__(self) -> None:
        super().__init__(lambda request, i: ANSWER, concurrency=CONCURRENCY, max_model_len=32_768, jitter=JITTER)
        self.clock = Clock()

    def submit(self, request: Request) -> None:
        self.clock.time(super().submit, request)
        self.asked.clear()

    def poll(self) -> list[Completion]:
        completions = self.clock.time(super().poll)
        self.occupancy.clear()
        return completions


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def chain(key: str, rounds: int, prompts: list[int], length: int) -> RequestStream[int]:
    """A strategy that only asks: `rounds` requests one after the other, each with a prompt of its own."""
    for t in range(rounds):
        start = random.randrange(len(prompts) - length)
        yield [Request(f"{key}/{t}", tuple(prompts[start : start + length]), Sampling())]
    return rounds


def json_round_trip_us(repeats: int = 20_000) -> float:
    """Microseconds of CPU in which this machine writes and reads an answer as JSON: the other figures in this unit can
    be compared between machines."""
    line = {"request_id": "100/20", "texts": [ANSWER], "token_ids": list(range(24)), "prompt_tokens": 1500}
    start = time.process_time()
    for _ in range(repeats):
        json.loads(json.dumps(line))
    return (time.process_time() - start) / repeats * 1e6


def scheduling(records: int, rounds: int, prompt_tokens: int) -> dict[str, Any]:
    """Costs per response, in microseconds: the scheduler without and with a journal, and opening that journal again.

    The engine answers at once, so `with_journal_us` holds waiting for the disk that a real engine would hide.
    """
    prompts = [random.randrange(50_000) for _ in range(200_000)]

    def run(journal: Journal | None) -> dict[str, float]:
        """Microseconds per response beside the engine's; by how much resident memory grew at most, MB."""
        engine = TimedEngine()
        scheduler = Scheduler({"policy": engine}, journal)
        tasks = ((str(i), chain(str(i), rounds, prompts, prompt_tokens)) for i in range(records))
        before, peak = resident_mb(), 0.0
        start, start_cpu = time.perf_counter(), time.process_time()
        for number, _ in enumerate(scheduler.run(tasks)):
            if number % max(records // 50, 1) == 0:
                peak = max(peak, resident_mb())
        wall = time.perf_counter() - start - engine.clock.seconds
        cpu = time.process_time() - start_cpu - engine.clock.cpu_seconds
        assert scheduler.progress.responses == records * rounds
        per = 1e6 / (records * rounds)
        return {"wall": wall * per, "cpu": cpu * per, "grown": peak - before}

    alone = run(None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "completions.jsonl"
        journal = Journal(path, "benchmark")
        kept = run(journal)
        journal.close()
        before, start, start_cpu = resident_mb(), time.perf_counter(), time.process_time()
        journal = Journal(path, "benchmark")
        opened, index = time.perf_counter() - start, resident_mb() - before
        opened_cpu = time.process_time() - start_cpu
        size = path.stat().st_size
        journal.close()
    return {
        "records": records,
        "responses": records * rounds,
        "scheduler_us": alone["wall"],
        "scheduler_cpu_us": alone["cpu"],
        "with_journal_us": kept["wall"],
        "with_journal_cpu_us": kept["cpu"],
        "grown_mb": kept["grown"],
        "journal_mb": size / 1e6,
        "journal_open_us": opened / (records * rounds) * 1e6,
        "journal_open_cpu_us": opened_cpu / (records * rounds) * 1e6,
        "journal_index_mb": index,
        "json_us": json_round_trip_us(),
    }


def bandit(records: int, rounds: int, context_tokens: int) -> dict[str, Any]:
    """The real strategy over long contexts: where a response's time goes, and what memory it takes."""
    from longmab_pl.data.records import QARecord
    from longmab_pl.data.synthesis import synthesize
    from longmab_pl.models.embedder import Embedder
    from longmab_pl.models.hub import resolve_model
    from longmab_pl.models.tokenizer import load_tokenizer
    from longmab_pl.prompts.formats import ReasonThenAnswer
    from longmab_pl.rewards.answer_match import AnswerMatch
    from longmab_pl.strategies.bandit.strategy import BanditRollout
    from longmab_pl.strategies.base import StrategyContext

    tokenizer = load_tokenizer(resolve_model("bundled:smollm2-135m-instruct"))
    made = synthesize(n_train=min(records, 64), n_eval=0, passages=context_tokens // 50).train
    # Contexts of their own for every record, as a file of this size would give; the words repeat, the strings do not.
    corpus = []
    for i in range(records):
        one = made[i % len(made)]
        corpus.append(QARecord(str(i), one.input, (one.answer,), f"{one.context} {i}"))
    strategy = BanditRollout(pulls=rounds, init="uniform")
    strategies, engine = Clock(), TimedEngine()
    context = StrategyContext(tokenizer, ReasonThenAnswer(), Embedder(), engine.max_model_len, 0, (AnswerMatch(),))
    ids = len(tokenizer(corpus[0].context, verbose=False).input_ids)
    before = resident_mb()
    samples: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "completions.jsonl", "benchmark")
        scheduler = Scheduler({"policy": engine}, journal)
        start = time.perf_counter()
        tasks = ((r.id, strategies.generator(strategy.roll(r, context))) for r in corpus)
        for number, (_, result) in enumerate(scheduler.run(tasks)):
            if isinstance(result, Exception):
                raise result
            if number % max(records // 50, 1) == 0:
                samples.append(resident_mb() - before)
        seconds = time.perf_counter() - start
        journal.close()
    responses = scheduler.progress.responses
    return {
        "records": records,
        "context_tokens": ids,
        "rounds": rounds,
        "responses": responses,
        "prompt_tokens": scheduler.progress.prompt_tokens / responses,
        "contexts_mb": sum(len(r.context) for r in corpus) / 1e6,
        "before_mb": before,
        "grown_at_10_percent_mb": samples[len(samples) // 10],
        "grown_mb": max(samples),
        "strategy_us": strategies.seconds / responses * 1e6,
        "wall_us": seconds / responses * 1e6,
        "seconds": seconds,
    }


def prefixes(policy: str, arms: int, rounds: int = 30, top_k: int = 4, records: int = 30) -> dict[str, Any]:
    """Share of the chosen chunks that stand at the front of a prompt as they did in an earlier one of the record.

    These are the chunks that a large enough prefix cache saves, for three ways to order a prompt's chunks: as in the
    document (the method's), those of the pull before first, and those played most often first. Rewards are random,
    better where one of two gold chunks is shown.
    """
    orders: dict[str, Callable[[list[int], list[int], Counter[int]], list[int]]] = {
        "document": lambda chosen, last, played: chosen,
        "repeated first": lambda chosen, last, played: sorted(
            chosen, key=lambda a: last.index(a) if a in last else len(last) + a
        ),
        "most played first": lambda chosen, last, played: sorted(chosen, key=lambda a: (-played[a], a)),
    }
    row: dict[str, Any] = {"policy": policy, "arms": arms}
    for name, order in orders.items():
        found = 0
        for record in range(records):
            rng = np.random.default_rng(record)
            bandit = BanditSettings(policy).start(rng.uniform(0.3, 0.6, arms), top_k, record)
            gold = set(rng.choice(arms, 2, replace=False).tolist())
            seen: set[tuple[int, ...]] = set()
            played: Counter[int] = Counter()
            last: list[int] = []
            for _ in range(rounds):
                last = order(list(bandit.select()), last, played)
                fronts = [tuple(last[: i + 1]) for i in range(len(last))]
                found += sum(front in seen for front in fronts)
                seen.update(fronts)
                played.update(last)
                bandit.update(sorted(last), float(rng.random() < (0.05, 0.25, 0.6)[len(gold & set(last))]))
        row[name] = found / (records * rounds * min(top_k, arms))
    return row


def measure(
    sizes: list[int], most: int, prompt_tokens: int, long: list[tuple[int, int]], only: Sequence[str] = ()
) -> dict[str, Any]:
    """The tables, printed as they come.

    Args:
        sizes: records of each row of the first.
        most: largest number of requests of a row of the first; up to 30 for each record.
        prompt_tokens: of each request in the first.
        long: (records, rounds) of each row of the last, over contexts of 16,000 tokens.
        only: names of the tables to measure, `scheduling`, `prefixes`, `bandit`; none: all.
    """
    wanted = only or ("scheduling", "prefixes", "bandit")
    tables: dict[str, Any] = {}
    if "scheduling" in wanted:
        tables["scheduling"] = _scheduling_of(sizes, most, prompt_tokens)
    if "prefixes" in wanted:
        jobs = [(p, n) for p in ("ucb1", "kl_ucb", "thompson_beta") for n in (6, 12, 40)]
        tables["prefixes"] = list(_apart(prefixes, jobs))
    if "bandit" in wanted:
        tables["bandit"] = list(_apart(bandit, [(n, r, 16_000) for n, r in long]))
    return tables


def _scheduling_of(sizes: list[int], most: int, prompt_tokens: int) -> list[dict[str, Any]]:
    """Return the rows of the first table; arguments as for `measure`."""
    rows = list(_apart(scheduling, [(n, max(min(30, most // n), 1), prompt_tokens) for n in sizes]))
    first, last = rows[0], rows[-1]
    if len(rows) > 1:
        ratio = last["scheduler_us"] / first["scheduler_us"]
        print(f"{last['records']:,} against {first['records']:,} records: {ratio:.2f}x the cost per response")
    return rows


def _apart(function: Callable[..., dict[str, Any]], jobs: Sequence[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Each job in a fresh process, one after the other."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        for job in jobs:
            row = pool.submit(function, *job).result()
            print("  ".join(f"{k} {_written(v)}" for k, v in row.items()), flush=True)
            yield row


def _written(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if value >= 1 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
