"""Exact and detached prompt gradient: seconds and peak memory of a step, and how far the gradients are apart.

    python benchmarks/prompt_gradient.py                              # prompts of 256 and 1,024 tokens, bundled model
    python benchmarks/prompt_gradient.py --prompts 1024 4096 16384 --device cuda --dtype bf16 --model NAME

One pair with a prompt of real words for each length: the policy's forward pass and the backward pass of the chosen
answer's likelihood and of DPO's log-ratio, through a LoRA of rank 16 with gradient checkpointing. `cosine` and `length`
compare the detached gradient with the exact one, all parameters together; the time is the least of `--repeats`.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence
from typing import Any

import torch
import trained_policy
from step_pairs import peak_memory

from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.training.batch import PackedBatch, PreferenceExample, collate
from longmab_pl.training.detached import detached_token_logps
from longmab_pl.training.logprobs import pair_logps, token_logps

SENTENCE = "The town of place {} lies on river number {}, and its oldest bridge was built in the year {}. "


def example(tokenizer: Any, length: int) -> PreferenceExample:
    """Return a pair with a prompt of `length` tokens: sentences, a question, and two answers."""
    question = tokenizer.encode("\nOn which river does the town of place 3 lie?\nAnswer:", add_special_tokens=False)
    text = "".join(SENTENCE.format(i, 7 * i % 100, 1200 + i % 700) for i in range(length // 10 + 10))
    words = tokenizer.encode(text, add_special_tokens=False)[: length - len(question)]
    answers = [tuple(tokenizer.encode(f" river number {n}", add_special_tokens=False)) for n in (21, 35)]
    return PreferenceExample(str(length), (*words, *question), *answers)


def step(policy: Any, batch: PackedBatch, way: str) -> float:
    """Run one training step without the optimizer; return the loss. Gradients stay in the parameters."""
    policy.zero_grad()
    logps = detached_token_logps(policy, batch) if way == "detached" else token_logps(policy, batch)
    pairs = pair_logps(batch, logps)
    loss = (pairs.chosen_nll - 0.1 * (pairs.chosen - pairs.rejected)).mean()
    loss.backward()
    return float(loss.detach())


def measure(policy: Any, batch: PackedBatch, repeats: int) -> dict[str, Any]:
    """Return seconds, MB and loss of both ways, and cosine and relative length of the detached gradient."""
    found: dict[str, Any] = {}
    gradients: dict[str, torch.Tensor] = {}
    for way in ("exact", "detached"):
        seconds, memory, loss = [], [], 0.0
        for _ in range(repeats + 1):  # the first warms up
            gc.collect()
            with peak_memory(policy.device) as peak:
                start = time.perf_counter()
                loss = step(policy, batch, way)
                if policy.device.type == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
            memory += peak
        gradients[way] = torch.cat([p.grad.float().flatten() for p in policy.parameters() if p.grad is not None])
        found[way] = {"seconds": min(seconds[1:]), "mb": max(memory[1:]), "loss": loss}
    exact, detached = gradients["exact"], gradients["detached"]
    found["cosine"] = float(torch.cosine_similarity(exact, detached, dim=0))
    found["length"] = float(detached.norm() / exact.norm())
    return found


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Run the command and return its results by prompt length."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--prompts", type=int, nargs="+", default=[256, 1024], help="tokens of the prompts")
    trained_policy.add_options(parser, repeats=2)
    chosen = parser.parse_args(arguments)
    folder = resolve_model(chosen.model)
    policy = trained_policy.random_adapter(chosen, attention="sdpa")
    tokenizer = load_tokenizer(folder, needs_chat=False)
    results = {}
    print("| prompt | way | seconds | peak MB | loss | cosine | length |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for length in chosen.prompts:
        batch = collate([example(tokenizer, length)]).to(chosen.device)
        found = results[str(length)] = measure(policy, batch, chosen.repeats)
        for way in ("exact", "detached"):
            apart = f"{found['cosine']:.2f} | {found['length']:.2f}" if way == "detached" else "1 | 1"
            r = found[way]
            print(f"| {length:,} | {way} | {r['seconds']:.2f} | {r['mb']:,.0f} | {r['loss']:.6f} | {apart} |")
    trained_policy.write(chosen, results)
    return results


if __name__ == "__main__":
    main()
