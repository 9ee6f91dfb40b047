"""Rollouts side by side on vLLM with the bundled model, and the scheduler's own cost.

    python benchmarks/rollout.py              lockstep, free and all at once: the same records, seeds and limits
    python benchmarks/rollout.py --ablation      what each way to save prefill is worth, one at a time
    python benchmarks/rollout.py --scripted   the scheduler's cost per response, no model

`lockstep` is the original program's scheme: one blocking round for a batch of records. `free` lets every record go its
own way. `all at once` submits the very prompts of the free run together, so nothing has to wait for an answer: no
scheduler can be faster on them. Every run starts a fresh engine, and a repeat uses the same seed in all three; a
response's length depends on its seed and prompt and not on the scheme, beside rounding that another batch brings.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rollout_scripted import measure as measure_scripted

from longmab_pl.bandits import BanditSettings
from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.data.synthesis import synthesize
from longmab_pl.engines.protocol import Completion, Engine, Request, Sampling
from longmab_pl.engines.vllm.engine import VLLMEngine
from longmab_pl.errors import LongMabError
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.prompts.formats import DirectAnswer, PromptFormat, ReasonThenAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.strategies.base import StrategyContext

MODEL = "bundled:smollm2-135m-instruct"
MODES = ("lockstep", "free", "all at once")
BARS = "▁▂▃▄▅▆▇█"

QUESTION_FIRST = """Read the document and answer the question.

Question: {question}

Document:
{context}

First think it through step by step: say which statements of the document matter and what follows from them. Then end \
with one line of the form
Answer: <your answer, as short as possible, nothing else>"""
"""`ReasonThenAnswer`'s words with the question in front: all that comes after it differs from record to record."""


class Meter:
    """An engine that keeps what was asked of it and how many responses were in flight at which time."""

    def __init__(self, engine: VLLMEngine) -> None:
        self._engine = engine
        self.requests: list[Request] = []
        self.completions: list[Completion] = []
        self.polls: list[tuple[float, float, int]] = []  # (start, end, responses in flight)
        self.figures: dict[str, Any] = {}
        self._in_flight: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, request: Request) -> None:
        self._engine.submit(request)
        self.requests.append(request)
        self._in_flight[request.id] = request.n

    def poll(self) -> list[Completion]:
        start, flying = time.perf_counter(), sum(self._in_flight.values())
        done = self._engine.poll()
        if flying:
            self.polls.append((start, time.perf_counter(), flying))
        for completion in done:
            del self._in_flight[completion.request_id]
        self.completions += done
        return done

    def summary(self, seconds: float) -> dict[str, Any]:
        """The run's figures; occupancy is in shares of the engine's limit."""
        limit = self._engine.concurrency
        tokens = [n for c in self.completions for n in c.completion_tokens]
        prompt = sum(c.prompt_tokens for c in self.completions)
        return {
            "seconds": seconds,
            "responses": len(tokens),
            "responses_per_s": len(tokens) / seconds,
            "tokens_per_s": sum(tokens) / seconds,
            "prompt_tokens_per_s": prompt / seconds,
            "mean_tokens": statistics.mean(tokens),
            "longest": max(tokens),
            "at_limit": sum(r == "length" for c in self.completions for r in c.finish_reasons) / len(tokens),
            "mean_prompt": prompt / len(self.completions),
            "prefix_hit_rate": sum(c.cached_tokens for c in self.completions) / prompt,
            "occupancy": sum((b - a) * min(n, limit) for a, b, n in self.polls) / seconds / limit,
            "outside_engine": 1 - sum(b - a for a, b, _ in self.polls) / seconds,
            "occupancy_over_time": self._over_time(limit),
        }

    def _over_time(self, limit: int, bins: int = 40) -> list[float]:
        """Mean occupancy in equal parts of the run."""
        first, last = self.polls[0][0], self.polls[-1][1]
        width = (last - first) / bins
        parts = [0.0] * bins
        for start, end, n in self.polls:
            for i in range(int((start - first) / width), min(int((end - first) / width), bins - 1) + 1):
                left, right = first + i * width, first + (i + 1) * width
                parts[i] += max(min(end, right) - max(start, left), 0.0) * min(n, limit) / limit / width
        return parts


@dataclasses.dataclass(frozen=True)
class RepeatsFirst:
    """A bandit whose chosen chunks come in the order of the pull before, new ones last (the method: document order)."""

    settings: BanditSettings

    def start(self, values: Any, top_k: int, seed: int) -> Any:
        policy = self.settings.start(values, top_k, seed)
        choose, last = policy.select, []

        def select() -> list[int]:
            nonlocal last
            arms = choose()
            last = [a for a in last if a in arms] + [a for a in arms if a not in last]
            return last

        policy.select = select
        return policy


class LockstepScheduler(Scheduler):
    """The original program's scheme: as many records as fill the engine, all waiting for the slowest answer."""

    def __init__(self, engine: Engine, journal: Journal | None = None, max_live: int | None = None) -> None:
        super().__init__({"policy": engine}, journal, max_live=max_live or engine.concurrency)

    def _has_room(self) -> bool:
        return not self._in_flight

    def _may_submit(self, lane: Any) -> bool:
        return True

    def _submit(self) -> Iterator[tuple[str, LongMabError]]:
        if not (self._in_flight or self._finished or self._thread.unfinished):
            yield from super()._submit()


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to roll out."""

    engine: dict[str, Any]
    strategy: BanditRollout
    prompt_format: PromptFormat
    max_live: int | None = None


def roll(setting: Setting, records: Sequence[QARecord], mode: str, seed: int, replay: list[Request]) -> Meter:
    """One run on a fresh engine; `replay` is what `all at once` asks."""
    model = resolve_model(MODEL)
    with VLLMEngine(**setting.engine) as engine, tempfile.TemporaryDirectory() as folder:
        engine.start(model)
        engine.submit(Request("warm-up", (1,) * 100, Sampling(max_tokens=8), seed=0))
        while not engine.poll():
            pass
        meter = Meter(engine)
        start = time.perf_counter()
        if mode == "all at once":
            for request in replay:
                meter.submit(request)
            while len(meter.completions) < len(replay):
                meter.poll()
        else:
            context = StrategyContext(
                load_tokenizer(model), setting.prompt_format, Embedder(), engine.max_model_len, seed, (AnswerMatch(),)
            )
            journal = Journal(Path(folder) / "completions.jsonl", "benchmark")
            scheduler = (
                LockstepScheduler(meter, journal, setting.max_live)
                if mode == "lockstep"
                else Scheduler({"policy": meter}, journal, max_live=setting.max_live)
            )
            for key, result in scheduler.run((r.id, setting.strategy.roll(r, context)) for r in records):
                if isinstance(result, Exception):
                    raise SystemExit(f"record {key}: {result}")
            journal.close()
        meter.figures = meter.summary(time.perf_counter() - start)
    return meter


def show(name: str, row: dict[str, Any]) -> None:
    bars = "".join(BARS[min(int(x * len(BARS)), len(BARS) - 1)] for x in row["occupancy_over_time"])
    print(
        f"{name:<28} {row['responses']:>4} resp in {row['seconds']:6.1f} s  {row['responses_per_s']:5.2f} resp/s  "
        f"{row['tokens_per_s']:6.1f} tok/s  prompt {row['prompt_tokens_per_s']:6.0f} tok/s  "
        f"hits {row['prefix_hit_rate']:4.0%}  full {row['occupancy']:4.0%} {bars}",
        flush=True,
    )


def median_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each figure's median over repeats; the occupancy curve of the first."""
    return {k: v if isinstance(v, list) else statistics.median(r[k] for r in rows) for k, v in rows[0].items()}


def compare_modes(setting: Setting, records: Sequence[QARecord], repeats: int, seed: int) -> dict[str, Any]:
    """Lockstep, free and all at once, and the ratios: of each repeat, then their median."""
    runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    common = []
    for repeat in range(repeats):
        meters: dict[str, Meter] = {}
        for mode in ("free", "lockstep", "all at once"):
            replay = meters["free"].requests if mode == "all at once" else []
            meters[mode] = roll(setting, records, mode, seed + repeat, replay)
            runs[mode].append(meters[mode].figures)
            show(f"{repeat + 1}: {mode}", meters[mode].figures)
        free, lockstep = meters["free"], meters["lockstep"]
        asked = {(r.id, r.prompt_ids) for r in free.requests}
        common.append(sum((r.id, r.prompt_ids) in asked for r in lockstep.requests) / len(lockstep.requests))

    def ratio(a: str, b: str, figure: str = "responses_per_s") -> float:
        return statistics.median(x[figure] / y[figure] for x, y in zip(runs[a], runs[b], strict=True))

    result = {
        "runs": runs,
        "median": {mode: median_of(rows) for mode, rows in runs.items()},
        "free_over_lockstep": ratio("free", "lockstep"),
        "free_over_lockstep_tokens": ratio("free", "lockstep", "tokens_per_s"),
        "free_over_all_at_once": ratio("free", "all at once"),
        "free_over_all_at_once_tokens": ratio("free", "all at once", "tokens_per_s"),
        "prompts_in_common": statistics.median(common),
    }
    row = result["median"]["free"]
    print(
        f"answers: mean {row['mean_tokens']:.0f} tokens, longest {row['longest']:.0f}, {row['at_limit']:.0%} at the "
        f"limit; prompts: mean {row['mean_prompt']:.0f} tokens; lockstep and free asked "
        f"{result['prompts_in_common']:.0%} of their prompts alike\n"
        f"free / lockstep: {result['free_over_lockstep']:.2f}x responses/s, "
        f"{result['free_over_lockstep_tokens']:.2f}x tokens/s\n"
        f"free / all at once: {result['free_over_all_at_once']:.0%} of its responses/s, "
        f"{result['free_over_all_at_once_tokens']:.0%} of its tokens/s\n"
        f"the engine waited for this package {row['outside_engine']:.1%} of the free run"
    )
    return result


def ablation(
    base: Setting, records: Sequence[QARecord], repeats: int, seed: int, only: Sequence[str] = ()
) -> dict[str, Any]:
    """The free run with one thing changed at a time, against the run as it stands.

    Args:
        only: parts of the names of the changes to run; none: all.
    """
    s, limit = base.strategy, base.engine["concurrency"]
    small = {**base.engine, "kv_cache_gb": 0.25}

    def strategy(**changes: Any) -> Setting:
        return dataclasses.replace(base, strategy=dataclasses.replace(s, **changes))

    variants: dict[str, Setting] = {
        "as it stands": base,
        "no prefix cache": dataclasses.replace(base, engine={**base.engine, "enable_prefix_caching": False}),
        "cache blocks of 128 tokens": dataclasses.replace(base, engine={**base.engine, "kv_block_size": 128}),
        "question before document": dataclasses.replace(base, prompt_format=ReasonThenAnswer(QUESTION_FIRST)),
        "repeated chunks first": strategy(bandit=RepeatsFirst(s.bandit)),
        "2 samples per pull": strategy(samples_per_pull=2, pulls=max(s.pulls // 2, 1)),
        "4 samples per pull": strategy(samples_per_pull=4, pulls=max(s.pulls // 4, 1)),
        "small cache": dataclasses.replace(base, engine=small),
        "small cache, all records live": dataclasses.replace(base, engine=small, max_live=len(records)),
        f"small cache, {limit} live": dataclasses.replace(base, engine=small, max_live=limit),
    }
    if only:
        variants = {n: v for n, v in variants.items() if v is base or any(part in n for part in only)}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for repeat in range(repeats):
        for name, setting in variants.items():
            runs[name].append(roll(setting, records, "free", seed + repeat, []).figures)
            show(f"{repeat + 1}: {name}", runs[name][-1])
    median = {name: median_of(rows) for name, rows in runs.items()}
    for name, row in median.items():
        row["over_base"] = row["responses_per_s"] / median["as it stands"]["responses_per_s"]
        print(f"{name:<30} {row['over_base']:.2f}x responses/s, prefix hits {row['prefix_hit_rate']:.0%}")
    return {"runs": runs, "median": median}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Callable[..., Any] = parser.add_argument
    add("--ablation", action="store_true", help="what each way to save prefill is worth")
    add(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="with --ablation: the changes whose names hold one of these; with --scripted: the tables of these names",
    )
    add("--scripted", action="store_true", help="the scheduler's own cost; no model runs")
    add("--data", help="QA records: a file, or a data set's name (default: made like the shipped set, but longer)")
    add("--passages", type=int, default=24, help="passages of about 50 tokens in a made context")
    add("--records", type=int, default=32)
    add("--pulls", type=int, default=8, help="pulls per record")
    add("--top-k", type=int, default=1, help="chunks per prompt")
    add("--chunk-size", type=int, default=96, help="tokens per chunk")
    add("--init", choices=("uniform", "query"), default="uniform", help="initial values: query embeds every chunk")
    add("--prompt-format", choices=("reason", "direct"), default="reason")
    add("--temperature", type=float, default=1.0)
    add("--max-tokens", type=int, default=1024, help="of a response")
    add("--concurrency", type=int, default=16, help="responses in the engine at once; also lockstep's batch")
    add("--max-live", type=int, help="records at work at once (default: the scheduler's)")
    add("--kv-cache-gb", type=float, default=2.0)
    add("--repeats", type=int, default=3)
    add("--seed", type=int, default=0)
    add("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000], help="records, with --scripted")
    add("--responses", type=int, default=300_000, help="with --scripted: at most as many in a row of the first table")
    add("--long", type=int, nargs=2, action="append", metavar=("RECORDS", "ROUNDS"), help="with --scripted")
    add("--json", type=Path, help="write everything measured to this file")
    args = parser.parse_args()

    if args.scripted:
        result = measure_scripted(
            args.sizes, args.responses, 1500, args.long or [(100, 30), (100, 3), (1000, 3)], args.only
        )
    else:
        if args.data:
            records = read_records(args.data, limit=args.records).records
        else:
            made = synthesize(n_train=args.records, n_eval=0, passages=args.passages).train
            records = [QARecord(r.id, r.input, (r.answer,), r.context) for r in made]
        strategy = BanditRollout(
            pulls=args.pulls,
            top_k=args.top_k,
            init=args.init,
            chunking=Chunking(chunk_size=args.chunk_size, overlap=0, min_sentences=1),
            sampling=Sampling(temperature=args.temperature, max_tokens=args.max_tokens),
        )
        engine = {
            "concurrency": args.concurrency,
            "max_model_len": strategy.needed_model_len + args.top_k * args.chunk_size // 2 + 512,
            "kv_cache_gb": args.kv_cache_gb,
        }
        prompt_format = ReasonThenAnswer() if args.prompt_format == "reason" else DirectAnswer()
        setting = Setting(engine, strategy, prompt_format, args.max_live)
        print(
            f"{len(records)} records x {args.pulls} pulls, {args.concurrency} at once, up to {args.max_tokens} tokens"
        )
        if args.ablation:
            result = ablation(setting, records, args.repeats, args.seed, args.only)
        else:
            result = compare_modes(setting, records, args.repeats, args.seed)
    if args.json:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
        args.json.write_text(json.dumps({"settings": settings, **result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
