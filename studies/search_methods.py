"""What a usable pair costs by bandit, best-of-n, clarification tree and stepwise search, and how good its answers are.

    python studies/search_methods.py --records 16 --responses 12 --out search_methods.json

All strategies roll out the same records with the same model and the same budget: at most `--responses` answers (nodes
of the tree, blocks of the stepwise search) for each record. Every answer has at most `--tokens` tokens; the stepwise
search writes it in blocks of a third of that. Pairs are each method's own; a record is usable if it has one. The gold
quality of a pair's texts is (SubEM + F1) / 2 of the answer that they state (LongMab-PO, section 3.3), whatever reward
made the pair; for the tree it is that of the last answer of the conversation.

Calls are requests to the engine, those for verdicts and ratings included. Each strategy starts with an empty prefix
cache. Seconds are wall-clock time on one engine, so they depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longmab_pl.bandits import BanditSettings
from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import POLICY, Engine, Request, RequestStream, Sampling
from longmab_pl.errors import LongMabError
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.pairs import BestWorst, ClarificationPairs, PairContext, PairRule, StepPairs
from longmab_pl.prompts import DirectAnswer
from longmab_pl.rewards import AnswerMatch, GoldAgreement, Reward
from longmab_pl.rewards.answer_match import pair_reward
from longmab_pl.rollout.dry_run import expected_costs
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies import (
    BanditRollout,
    BestOfN,
    Chunking,
    ClarificationTree,
    RecordRollout,
    StepwiseSearch,
    Strategy,
    StrategyContext,
)


@dataclass(frozen=True)
class Method:
    """A strategy with its reward and its pair rule."""

    strategy: Strategy
    reward: Reward
    pairs: PairRule


def methods(responses: int, tokens: int, max_prompt_length: int) -> dict[str, Method]:
    """Return the methods with a budget of `responses` answers of at most `tokens` tokens for each record."""
    sampling = Sampling(temperature=0.7, top_p=0.95, presence_penalty=0.0, max_tokens=tokens)
    block = Sampling(temperature=0.7, top_p=0.95, presence_penalty=0.0, max_tokens=max(tokens // 3, 1))
    best = BestWorst(max_prompt_length=max_prompt_length)
    bandit = BanditRollout(
        pulls=responses // 2,
        top_k=2,
        samples_per_pull=2,
        init="query",
        chunking=Chunking(64, 0, 1),
        bandit=BanditSettings("thompson_beta", {"prior_weight": 30.0}),
        sampling=sampling,
    )
    # The largest full tree of two children a node within the budget: 7 nodes for 12.
    rounds = max((responses + 1).bit_length() - 2, 1)
    tree = ClarificationTree(
        branching=2,
        rounds=rounds,
        paragraph_tokens=64,
        max_read_tokens=256,
        questions_per_request=2,
        clarify=Sampling(1.0, 0.95, 0.0, 32),
        verdict=Sampling(0.2, 0.95, 0.0, 32),
        answer=Sampling(0.7, 0.95, 0.0, tokens),
    )
    search = StepwiseSearch(blocks=3, candidates=responses // 3, sampling=block, facts=None, refinement=None)
    return {
        "bandit": Method(bandit, AnswerMatch(), best),
        "best-of-n": Method(BestOfN(responses, sampling), AnswerMatch(), best),
        "tree": Method(tree, GoldAgreement(), ClarificationPairs(max_prompt_length=max_prompt_length)),
        "stepwise": Method(search, AnswerMatch(), StepPairs(max_prompt_length=max_prompt_length)),
    }


def counted(stream: RequestStream[RecordRollout], asked: list[Request]) -> RequestStream[RecordRollout]:
    """Run a strategy and append its requests to a list."""
    answers = None
    while True:
        try:
            requests = next(stream) if answers is None else stream.send(answers)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        asked += requests
        answers = yield requests


def measure(
    method: Method, records: Sequence[QARecord], engine: Engine, tokenizer: Any, embedder: Embedder, seed: int
) -> dict[str, Any]:
    """Return counts, costs and gold qualities of one method on all records."""
    engine.sync(None)  # empties the prefix cache
    prompt_format = DirectAnswer()
    addressees = {POLICY: Addressee(ChatFormat(tokenizer), engine.max_model_len, engine.structured_output)}
    context = StrategyContext(
        tokenizer, prompt_format, embedder, engine.max_model_len, seed, (method.reward,), addressees
    )
    pair_context = PairContext(tokenizer, prompt_format, method.reward.name, seed, 0)
    scheduler = Scheduler({POLICY: engine})
    asked: list[Request] = []

    def tasks() -> Iterator[tuple[str, RequestStream[RecordRollout]]]:
        for record in records:
            yield record.id, counted(method.strategy.roll(record, context), asked)

    started = time.monotonic()
    found = dict(scheduler.run(tasks()))
    seconds = time.monotonic() - started
    pairs, usable, chosen, rejected = 0, 0, [], []
    for record in records:
        rollout = found[record.id]
        if isinstance(rollout, LongMabError):
            continue
        made = method.pairs.pairs(record, rollout, pair_context)
        pairs += len(made)
        usable += bool(made)
        for pair in made:
            chosen.append(pair_reward(_last(pair.chosen, pair.chosen_turns), record.answers))
            rejected.append(pair_reward(_last(pair.rejected, pair.rejected_turns), record.answers))
    return {
        "records": len(records),
        "failed": sum(isinstance(rollout, LongMabError) for rollout in found.values()),
        "usable": usable,
        "pairs": pairs,
        "calls": len(asked),
        "generations": sum(request.n for request in asked),
        "prompt_tokens": scheduler.progress.prompt_tokens,
        "cached_tokens": scheduler.progress.cached_tokens,
        "generated_tokens": scheduler.progress.tokens,
        "seconds": seconds,
        "chosen": sum(chosen) / max(len(chosen), 1),
        "rejected": sum(rejected) / max(len(rejected), 1),
    }


def _last(text: str, turns: Sequence[Any]) -> str:
    """Return the last turn of a conversation, or the text of a single answer."""
    return str(turns[-1].text) if turns else text


def estimate(known: dict[str, Method], records: Sequence[QARecord], tokenizer: Any) -> None:
    """Print calls and tokens for each record with placeholder answers, as `longmab rollout --dry-run` counts them."""
    addressees = {POLICY: Addressee(ChatFormat(tokenizer), 4096)}
    print("| method | calls | prompt tokens | generated tokens |\n| --- | ---: | ---: | ---: |")
    for name, method in known.items():
        plan = RoundPlan(method.strategy, (method.reward,), DirectAnswer(), method.pairs, Embedder())
        costs = expected_costs(plan, records, tokenizer, addressees)
        calls, prompts, new = (
            sum(getattr(cost, field) for cost in costs) / len(records)
            for field in ("calls", "prompt_tokens", "new_tokens")
        )
        print(f"| {name} | {calls:.1f} | {prompts:,.0f} | {new:,.0f} |")


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print the results per usable record as a Markdown table."""
    print(
        "| method | usable records | pairs | calls | prompt tokens | of them cached | generated tokens | seconds | "
        "gold quality: chosen | rejected |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, r in results.items():
        n = max(r["usable"], 1)
        cached = r["cached_tokens"] / max(r["prompt_tokens"], 1)
        print(
            f"| {name} | {r['usable']} of {r['records']} | {r['pairs']} | {r['calls'] / n:.1f} | "
            f"{r['prompt_tokens'] / n:,.0f} | {cached:.0%} | {r['generated_tokens'] / n:,.0f} | "
            f"{r['seconds'] / n:.1f} | {r['chosen']:.2f} | {r['rejected']:.2f} |"
        )


def main(arguments: Sequence[str] | None = None, engine: Engine | None = None) -> dict[str, dict[str, Any]]:
    """Run the command and return its results.

    Args:
        arguments: as on the command line.
        engine: a started engine; None: vLLM with the model.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct")
    parser.add_argument("--engine", choices=["vllm", "transformers"], default="vllm")
    parser.add_argument("--data", default="shipped:synthetic_train")
    parser.add_argument("--records", type=int, default=16)
    parser.add_argument("--responses", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--max-prompt-length", type=int, default=1536)
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--estimate", action="store_true", help="count with placeholder answers; loads no model")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    chosen = parser.parse_args(arguments)
    records = read_records(chosen.data, limit=chosen.records).records
    folder = resolve_model(chosen.model)
    tokenizer = load_tokenizer(folder)
    if chosen.estimate:
        estimate(methods(chosen.responses, chosen.tokens, chosen.max_prompt_length), records, tokenizer)
        return {}
    if engine is None:
        from longmab_pl.engines import TransformersEngine, VLLMEngine

        if chosen.engine == "vllm":
            engine = VLLMEngine(concurrency=16, max_model_len=4096, kv_cache_gb=1.0)
        else:
            engine = TransformersEngine(concurrency=16, max_model_len=4096)
        engine.start(folder)
    embedder = Embedder()
    known = methods(chosen.responses, chosen.tokens, chosen.max_prompt_length)
    asked = {name: method for name, method in known.items() if not chosen.only or name in chosen.only}
    if any(method.strategy.needs_embedder for method in asked.values()):
        embedder.load()
    results = {}
    try:
        for name, method in asked.items():
            results[name] = measure(method, records, engine, tokenizer, embedder, chosen.seed)
            print(name, json.dumps(results[name]), flush=True)
    finally:
        engine.close()
    show(results)
    if chosen.out:
        chosen.out.write_text(json.dumps({"settings": vars(chosen) | {"out": None}, "results": results}, indent=1))
    return results


if __name__ == "__main__":
    main()
