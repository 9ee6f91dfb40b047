"""Prefix-cache hits of a rollout on several servers, beside those on one: no model runs.

    python benchmarks/rollout_servers.py
    python benchmarks/rollout_servers.py --records 200 --pulls 30 --cache 400000 --json servers.json

The servers are stand-ins on loopback that speak vLLM's part of the OpenAI API. Each keeps a prefix cache as vLLM does
(whole blocks of 16 tokens, the least recently used ones leave first) and takes a random time for an answer. `alone` is
one server that answers as many requests at once as all servers of the other row together, with a cache of the same
size as each of them has. The bandit, the scheduler and the engine are those of a run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from prefix_cache import PrefixCache
from scripted_server import ScriptedServer

from longmab_pl.data.records import QARecord
from longmab_pl.data.synthesis import synthesize
from longmab_pl.engines.server.engine import ServerEngine
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.prompts.formats import ReasonThenAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.storage.files import atomic_write
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.strategies.base import StrategyContext

MODEL = "bundled:smollm2-135m-instruct"
"""Its tokenizer is used; its weights are not loaded."""


class SlowServer(ScriptedServer):
    """A stand-in whose answers take a random time, exponential with this mean, in seconds."""

    def __init__(self, model: str, seconds: float, cache: PrefixCache, max_model_len: int) -> None:
        super().__init__(model, delay=0.0)
        self.cache = cache
        self.max_model_len = max_model_len
        self._mean = seconds
        self._draw = random.Random(0)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self._draw.expovariate(1 / self._mean))
        return await super()._completions(request)


def measure(
    records: list[QARecord], strategy: BanditRollout, servers: int, at_once: int, cache: int, seconds: float
) -> dict[str, Any]:
    """Roll out all records and return the share of their prompts' tokens that the servers had cached."""
    model = resolve_model(MODEL)
    caches = [PrefixCache(cache) for _ in range(servers)]
    running = [SlowServer(model, seconds, each, strategy.needed_model_len + 4096).start() for each in caches]
    try:
        with ServerEngine([s.url for s in running], concurrency_per_server=at_once // servers) as engine:
            engine.start(model)
            context = StrategyContext(
                load_tokenizer(model), ReasonThenAnswer(), Embedder(), engine.max_model_len, 0, (AnswerMatch(),)
            )
            # As many live records in both rows, so that the caches hold as many.
            scheduler = Scheduler({"policy": engine}, max_live=2 * at_once)
            for key, result in scheduler.run((r.id, strategy.roll(r, context)) for r in records):
                if isinstance(result, Exception):
                    raise SystemExit(f"record {key}: {result}")
    finally:
        for server in running:
            server.kill()
    progress = scheduler.progress
    row = {
        "servers": servers,
        "at_once": at_once,
        "requests": [len(server.asked) for server in running],
        "mean_prompt": progress.prompt_tokens / progress.responses,
        "hits": progress.cached_tokens / progress.prompt_tokens,
    }
    print(f"{servers} x {at_once // servers}: {row['hits']:.1%} hits, requests by server {row['requests']}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--pulls", type=int, default=12, help="pulls per record")
    parser.add_argument("--passages", type=int, default=60, help="passages of about 50 tokens in a context")
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=32, help="requests that all servers together answer at once")
    parser.add_argument("--cache", type=int, default=100_000, help="tokens of each server's prefix cache")
    parser.add_argument("--seconds", type=float, default=0.15, help="mean time of an answer")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    args = parser.parse_args()
    made = synthesize(n_train=args.records, n_eval=0, passages=args.passages).train
    records = [QARecord(r.id, r.input, (r.answer,), r.context) for r in made]
    strategy = BanditRollout(pulls=args.pulls, init="uniform", chunking=Chunking(chunk_size=256))
    print(f"{len(records)} records x {args.pulls} pulls, caches of {args.cache:,} tokens")
    rows = [measure(records, strategy, n, args.at_once, args.cache, args.seconds) for n in (1, args.servers)]
    lost = rows[0]["hits"] - rows[1]["hits"]
    print(f"{args.servers} servers: {-100 * lost:+.1f} points against one")
    if args.json:
        with atomic_write(args.json) as file:
            file.write(json.dumps({"rows": rows, "lost_points": 100 * lost}, indent=1) + "\n")


if __name__ == "__main__":
    main()
