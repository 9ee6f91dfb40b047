"""Tokens, time and peak memory of a step with SoLoPO's short-to-long term: packed, and as plain sequences.

    python benchmarks/short_to_long.py                                # 1,024 tokens, chunks of 256, bundled model, CPU
    python benchmarks/short_to_long.py --long 16384 --short 4096 --device cuda --dtype bf16 --model NAME

Four losses on the same pairs of random tokens (two to a prompt), each as packed trees (`packed`) and with a copy of its
prompt before every completion (`plain`): DPO alone, DPO + short-to-long, the decoupled form (DPO on the short prompt),
and a group loss on eight responses. A step is the reference's forward pass, and the policy's forward and backward pass
through a LoRA of rank 16 with gradient checkpointing; the time is the least of `--repeats`.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections.abc import Sequence
from typing import Any

import torch
import trained_policy
from step_pairs import peak_memory

from longmab_pl.training import WeightedPhase
from longmab_pl.training.batch import GroupResponse, PackedBatch, PreferenceExample, collate
from longmab_pl.training.logprobs import Layout, token_logps
from longmab_pl.training.terms import GroupTerm, PreferenceTerm, ShortToLongTerm

RESPONSES = 8


def pairs(long: int, short: int, answer: int, vocabulary: int) -> list[PreferenceExample]:
    """Return two pairs of one record, with a short prompt and a group of responses each."""
    draw = random.Random(0)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(10, vocabulary) for _ in range(n))

    prompt, chunks, best = ids(long), ids(short), ids(answer)
    made = []
    for number in range(2):
        worst = ids(answer)
        members = (best, worst, *(ids(answer) for _ in range(RESPONSES - 2)))
        group = tuple(GroupResponse(own, 1.0 - i / RESPONSES) for i, own in enumerate(members))
        made.append(PreferenceExample(str(number), prompt, best, worst, short_prompt_ids=chunks, group=group))
    return made


LOSSES: dict[str, WeightedPhase] = {
    "dpo": WeightedPhase([PreferenceTerm()]),
    "short_to_long": WeightedPhase([PreferenceTerm(), ShortToLongTerm()]),
    "decoupled": WeightedPhase([PreferenceTerm(prompt="short"), ShortToLongTerm()]),
    "group": WeightedPhase([GroupTerm(clip=None)]),
}


def plain_tokens(batch: PackedBatch) -> int:
    """Return the tokens of a batch's completions, each behind a copy of its prompt."""
    return sum(len(batch.plain_sequence(i)) for i in range(len(batch.completion_lengths)))


def step(policy: Any, phase: WeightedPhase, batch: PackedBatch, layout: Layout) -> float:
    """Run one training step without the optimizer; return the mean loss. Gradients stay in the parameters."""
    policy.zero_grad()
    reference = None
    if phase.needs_reference:
        with torch.no_grad(), policy.disable_adapter():
            reference = token_logps(policy, batch, layout=layout)
    loss = phase.objective(batch, token_logps(policy, batch, layout=layout), reference).mean()
    loss.backward()
    return float(loss.detach())


def measure(policy: Any, phase: WeightedPhase, batch: PackedBatch, layout: Layout, repeats: int) -> dict[str, Any]:
    """Return tokens, seconds, MB and loss of a step."""
    seconds, memory, loss = [], [], 0.0
    for _ in range(repeats + 1):  # the first warms up
        gc.collect()
        with peak_memory(policy.device) as peak:
            start = time.perf_counter()
            loss = step(policy, phase, batch, layout)
            if policy.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        memory += peak
    tokens = batch.tokens if layout == "packed" else plain_tokens(batch)
    return {"tokens": tokens, "seconds": min(seconds[1:]), "mb": max(memory[1:]), "loss": loss}


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Run the command and return its results by loss and way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--long", type=int, default=1024, help="tokens of the training prompt")
    parser.add_argument("--short", type=int, default=256, help="tokens of the short prompt")
    parser.add_argument("--answer", type=int, default=32, help="tokens of a response")
    trained_policy.add_options(parser, repeats=2)
    chosen = parser.parse_args(arguments)
    policy = trained_policy.random_adapter(chosen)
    made = pairs(chosen.long, chosen.short, chosen.answer, policy.get_input_embeddings().weight.shape[0])
    results: dict[str, dict[str, Any]] = {}
    for name, phase in LOSSES.items():
        batch = collate(phase.examples(made)).to(chosen.device)
        layouts: dict[str, Layout] = {"packed": "packed", "plain": "concatenated"}
        for way, layout in layouts.items():
            results[f"{name}, {way}"] = measure(policy, phase, batch, layout, chosen.repeats)
    print("| loss, way | tokens | seconds | peak MB | loss |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, r in results.items():
        print(f"| {name} | {r['tokens']:,} | {r['seconds']:.2f} | {r['mb']:,.0f} | {r['loss']:.6f} |")
    trained_policy.write(chosen, results)
    return results


if __name__ == "__main__":
    main()
