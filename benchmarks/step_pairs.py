"""Tokens, time and peak memory of a training step on the nested pairs of one text: as one tree, pair by pair, plainly.

    python benchmarks/step_pairs.py                                   # 4 steps of 256 tokens, bundled model, CPU
    python benchmarks/step_pairs.py --steps 4 --block 2048 --device cuda --dtype bf16 --model NAME

Step-wise DPO compares the next block of a text, on the instruction and all earlier blocks. The pairs of one text are
nested, so that a plain trainer reads the first blocks again for every later one. Three ways to compute the same loss:

- `tree`: one packed sequence in which every shared beginning occurs once (`longmab_pl.training.prefix_tree`);
- `pairs`: each pair by itself, with its prompt once for both blocks;
- `plain`: each completion behind a copy of its prompt.

All are a forward and a backward pass through the same LoRA (rank 16) with gradient checkpointing, on random tokens. The
losses and gradients must agree (in float32 to 1e-5 of the largest gradient); the time is the least of `--repeats`.
"""

from __future__ import annotations

import argparse
import gc
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import trained_policy

from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.logprobs import Layout, completion_logps
from longmab_pl.training.losses import PairLogps, SigmoidDPO

Parts = Sequence[Sequence[PreferenceExample]]


def nested_pairs(steps: int, block: int, prompt: int, vocabulary: int, seed: int = 0) -> list[PreferenceExample]:
    """Return the pairs of one text of random tokens: at each step two blocks on the prompt and the chosen blocks."""
    draw = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(10, vocabulary) for _ in range(n))

    written, pairs = ids(prompt), []
    for step in range(steps):
        chosen = ids(block)
        pairs.append(PreferenceExample(f"step {step + 1}", written, chosen, ids(block)))
        written += chosen
    return pairs


def ways(pairs: Sequence[PreferenceExample]) -> dict[str, tuple[Parts, Layout, int]]:
    """Return the batches, the layout and the number of computed tokens of each way."""
    plain = sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in pairs)
    alone = [[pair] for pair in pairs]
    return {
        "tree": ([pairs], "packed", collate(pairs).tokens),
        "pairs": (alone, "packed", sum(pair.tokens for pair in pairs)),
        "plain": (alone, "concatenated", plain),
    }


def step(policy: Any, parts: Parts, layout: Layout, pairs: int) -> float:
    """Run one training step without the optimizer; return the mean loss. Gradients stay in the parameters."""
    policy.zero_grad()
    total = 0.0
    for part in parts:
        logps = completion_logps(policy, collate(part).to(policy.device), layout=layout)
        zeros = torch.zeros_like(logps.chosen)
        reference = PairLogps(zeros, zeros, logps.chosen_tokens, logps.rejected_tokens)
        loss = SigmoidDPO(0.001)(logps, reference).losses.sum() / pairs
        loss.backward()
        total += float(loss.detach())
    return total


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[float]]:
    """Yield a list that gets the peak memory in MB above what is in use now: allocated (GPU) or resident (CPU)."""
    found: list[float] = []
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        torch.cuda.synchronize()
        found.append((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    import psutil

    process, stop = psutil.Process(), threading.Event()
    before, peak = process.memory_info().rss, 0

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    yield found
    stop.set()
    thread.join()
    found.append(max(peak - before, 0) / 2**20)


def measure(policy: Any, pairs: Sequence[PreferenceExample], repeats: int) -> dict[str, dict[str, Any]]:
    """Return tokens, seconds, MB, loss, and the largest difference of a gradient from the plain form's, by way."""
    results: dict[str, dict[str, Any]] = {}
    gradients: dict[str, list[torch.Tensor]] = {}
    for name, (parts, layout, tokens) in ways(pairs).items():
        seconds, memory = [], []
        for _ in range(repeats + 1):  # the first warms up
            gc.collect()
            with peak_memory(policy.device) as peak:
                start = time.perf_counter()
                loss = step(policy, parts, layout, len(pairs))
                if policy.device.type == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
            memory += peak
        gradients[name] = [p.grad.float().clone() for p in policy.parameters() if p.grad is not None]
        results[name] = {"tokens": tokens, "seconds": min(seconds[1:]), "mb": max(memory[1:]), "loss": loss}
    largest = max(float(g.abs().max()) for g in gradients["plain"])
    for name, own in gradients.items():
        apart = max(float((a - b).abs().max()) for a, b in zip(own, gradients["plain"], strict=True))
        results[name]["gradient_difference"] = apart / largest
    return results


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print the results as a Markdown table, with ratios to the plain form."""
    plain = results["plain"]
    print("| way | tokens | ratio | seconds | ratio | peak MB | loss | gradient's difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, r in results.items():
        print(
            f"| {name} | {r['tokens']:,} | {r['tokens'] / plain['tokens']:.2f} | {r['seconds']:.2f} | "
            f"{r['seconds'] / plain['seconds']:.2f} | {r['mb']:,.0f} | {r['loss']:.6f} | "
            f"{r['gradient_difference']:.1e} |"
        )


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Run the command and return its results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--block", type=int, default=256, help="tokens of a block")
    parser.add_argument("--prompt", type=int, default=200, help="tokens of the instruction")
    trained_policy.add_options(parser, repeats=2)
    chosen = parser.parse_args(arguments)
    policy = trained_policy.random_adapter(chosen)
    vocabulary = policy.get_input_embeddings().weight.shape[0]
    pairs = nested_pairs(chosen.steps, chosen.block, chosen.prompt, vocabulary)
    results = measure(policy, pairs, chosen.repeats)
    show(results)
    trained_policy.write(chosen, results)
    return results


if __name__ == "__main__":
    main()
