"""Throughput of the evaluation runner against vLLM's own loop on the same prompts: `python benchmarks/evaluation.py`.

Several questions to each of several contexts, shuffled as files are. Side by side in one process, on one engine, the
prefix cache emptied before each run:

- `vllm, file order`: all requests added at once and stepped until done, as `LLM.generate` does; token ids ready;
- `vllm, grouped`: the same with the questions to a context one after the other;
- `runner`: `longmab_pl.evaluation.evaluate` on the shuffled records, with tokenizing, scoring and predictions on disk.

Medians over the repeats; the systems take turns, so that a slower minute hits all of them. On a machine that other
programs use too, compare the CPU seconds of the process (all threads) instead of its wall seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from longmab_pl.data.synthesis import synthesize
from longmab_pl.engines.vllm.engine import VLLMEngine
from longmab_pl.evaluation import evaluate
from longmab_pl.evaluation.longbench.loading import LongBenchItem
from longmab_pl.evaluation.longbench.table import custom_spec
from longmab_pl.evaluation.longbench.task import LongBenchTask
from longmab_pl.models.hub import resolve_model


def shuffled_task(contexts: int, questions: int, passages: int, new_tokens: int) -> LongBenchTask:
    """Questions about the first passages of invented contexts, in random order."""
    items = []
    for record in synthesize(n_train=0, n_eval=contexts, passages=passages, two_hop=0.0).eval:
        for number, title in enumerate(re.findall(r"Passage \d+: (.+)", record.context)[:questions]):
            question = f"What does the text say about {title}?"
            items.append(LongBenchItem(f"{record.id}-{number}", question, (title,), record.context))
    random.Random(0).shuffle(items)
    return LongBenchTask("throughput", items, replace(custom_spec("throughput"), max_new_tokens=new_tokens))


def generate(engine: VLLMEngine, prompts: list[tuple[int, ...]], new_tokens: int) -> dict[str, int]:
    """vLLM's own offline loop; the tokens that were asked, cached and generated."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    llm = engine._running().llm  # the vllm.LLMEngine itself
    params = SamplingParams(temperature=0.0, max_tokens=new_tokens, output_kind=RequestOutputKind.FINAL_ONLY)
    for number, ids in enumerate(prompts):
        llm.add_request(str(number), {"prompt_token_ids": list(ids)}, params)
    done = []
    while llm.has_unfinished_requests():
        done += [output for output in llm.step() if output.finished]
    return {
        "prompt": sum(len(ids) for ids in prompts),
        "cached": sum(output.num_cached_tokens or 0 for output in done),
        "new": sum(len(output.outputs[0].token_ids) for output in done),
    }


def run_evaluation(engine: VLLMEngine, task: LongBenchTask, tokenizer: Any) -> dict[str, int]:
    """The runner as `longmab evaluate` uses it."""
    with tempfile.TemporaryDirectory() as folder:
        result = evaluate(task, engine, tokenizer, predictions=folder, progress=False)
    return {"prompt": result.prompt_tokens, "cached": result.cached_tokens, "new": result.completion_tokens}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct")
    parser.add_argument("--contexts", type=int, default=16)
    parser.add_argument("--questions", type=int, default=4, help="to each context")
    parser.add_argument("--passages", type=int, default=12, help="of each context; about 50 tokens each")
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--kv-cache-gb", type=float, default=0.5, help="less than the contexts take, as in earnest")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    from transformers import AutoTokenizer

    path = resolve_model(args.model)
    tokenizer = AutoTokenizer.from_pretrained(path)
    task = shuffled_task(args.contexts, args.questions, args.passages, args.new_tokens)
    prompts = [task.prompt(record, tokenizer, 100_000).ids for record in task.records]
    order: dict[str, list[int]] = {}
    for position, record in enumerate(task.records):
        order.setdefault(record.context, []).append(position)
    grouped = [prompts[position] for positions in order.values() for position in positions]
    longest = max(map(len, prompts)) + args.new_tokens
    print(f"{len(prompts)} prompts, {sum(map(len, prompts)):,} tokens, {args.contexts} contexts", flush=True)
    seconds: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    tokens: dict[str, dict[str, int]] = {}
    with VLLMEngine(concurrency=args.concurrency, max_model_len=longest, kv_cache_gb=args.kv_cache_gb) as engine:
        engine.start(path)
        systems: dict[str, Callable[[], dict[str, int]]] = {
            "vllm, file order": lambda: generate(engine, prompts, args.new_tokens),
            "vllm, grouped": lambda: generate(engine, grouped, args.new_tokens),
            "runner": lambda: run_evaluation(engine, task, tokenizer),
        }
        generate(engine, prompts[:2], args.new_tokens)  # warm up
        for _ in range(args.repeats):
            for name, system in systems.items():
                engine._running().llm.reset_prefix_cache()
                started, used = time.perf_counter(), time.process_time()
                tokens[name] = system()
                seconds.setdefault(name, []).append(time.perf_counter() - started)
                busy.setdefault(name, []).append(time.process_time() - used)
                print(f"  {name}: {seconds[name][-1]:.1f} s, {busy[name][-1]:.1f} s of CPU", flush=True)
    rows = []
    for name, times in seconds.items():
        median = statistics.median(times)
        count = tokens[name]
        rows.append(
            {
                "system": name,
                "seconds": times,
                "median_s": median,
                "cpu_seconds": busy[name],
                "median_cpu_s": statistics.median(busy[name]),
                "prompt_tokens_per_s": count["prompt"] / median,
                "from_cache": count["cached"] / count["prompt"],
                **count,
            }
        )
    print(f"\n{'system':20}{'median s':>10}{'CPU s':>8}{'prompt tok/s':>14}{'from cache':>12}")
    for row in rows:
        print(
            f"{row['system']:20}{row['median_s']:10.1f}{row['median_cpu_s']:8.1f}{row['prompt_tokens_per_s']:14.0f}"
            f"{row['from_cache']:12.0%}"
        )
    ratios = {}
    for clock in ("median_s", "median_cpu_s"):
        by_name = {row["system"]: row[clock] for row in rows}
        for other in ("vllm, grouped", "vllm, file order"):
            ratios[f"runner / {other}, {clock}"] = by_name[other] / by_name["runner"]
    for name, ratio in ratios.items():
        print(f"throughput {name}: {ratio:.2f}x")
    if args.json:
        Path(args.json).write_text(json.dumps({"rows": rows, "ratios": ratios}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
