"""The steps of `gpu_check.py`: each runs in a process of its own and reports rows as it goes."""

from __future__ import annotations

import contextlib
import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Rows = Callable[[dict[str, Any]], None]
"""Takes one result row; what was reported before a crash is kept."""


class Skip(Exception):
    """This step does not apply here; the message says what is missing."""


@dataclass(frozen=True)
class Setup:
    """What all steps share.

    Args:
        device: "cuda" or "cpu".
        workdir: folder of models and adapters.
        llama: name of the Llama-shaped model (see `random_models`).
        qwen: name of the Qwen-shaped model.
        small: name of the model for engines and exports.
        prompts: lengths of training prompts, in tokens.
        answer: length of each of a pair's two answers, in tokens.
    """

    device: str
    workdir: Path
    llama: str
    qwen: str
    small: str
    prompts: tuple[int, ...]
    answer: int


@dataclass(frozen=True)
class Step:
    """One line of the check.

    Args:
        name: as on the command line and in the table.
        run: does it.
        seconds: its own time limit.
        needs: packages without which it is skipped.
        cuda: whether it needs a CUDA GPU.
    """

    name: str
    run: Callable[[Setup, Rows], None]
    seconds: int
    needs: tuple[str, ...] = field(default=())
    cuda: bool = False


def device(setup: Setup, rows: Rows) -> None:
    """Say what this machine is."""
    import importlib.metadata

    import torch

    names = ("torch", "triton", "transformers", "lightning", "peft", "bitsandbytes", "trl", "vllm", "flash-attn")
    row: dict[str, Any] = {"versions": {}}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            row["versions"][name] = importlib.metadata.version(name)
    if setup.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        row |= {
            "gpu": torch.cuda.get_device_name(),
            "capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "free_gib": round(free / 2**30, 1),
            "total_gib": round(total / 2**30, 1),
            "bf16": torch.cuda.is_bf16_supported(),
            "cuda": torch.version.cuda,
        }
    else:
        row["gpu"] = "none"
    rows(row)


def attention(setup: Setup, rows: Rows) -> None:
    """Compare packed attention in bf16 with float32: FlexAttention's kernels (CUDA) and SDPA by segments.

    A kernel passes if its outputs and gradients are at most twice as far from float32 as SDPA's.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention
    from transformers.integrations.flex_attention import flex_attention_forward

    from longmab_pl.training import attention as packed
    from longmab_pl.training.batch import PreferenceExample, collate

    packed.allow_flex_variants()
    # Whole blocks of FlexAttention's masks.
    prompt, answer = (1892, 334) if setup.device == "cuda" else (88, 20)
    draw = random.Random(0)
    pairs = [
        PreferenceExample(f"{n}", *(tuple(draw.randrange(9, 99) for _ in range(k)) for k in (prompt, answer, answer)))
        for n in range(2)
    ]
    batch = collate(pairs).to(setup.device)
    shapes = (
        [(64, 9, 3), (64, 32, 8), (128, 32, 8), (128, 28, 4), (256, 8, 8)] if setup.device == "cuda" else [(16, 4, 2)]
    )
    windowed = shapes[len(shapes) // 2]  # every shape with and without a window would compile twice as many kernels
    module = torch.nn.Identity().train()
    for size, heads, kv_heads in shapes:
        for window in (None, prompt // 3) if (size, heads, kv_heads) == windowed else (None,):
            generator = torch.Generator(setup.device).manual_seed(0)

            def states(n: int, size: int = size, generator: torch.Generator = generator) -> torch.Tensor:
                shape = (1, n, batch.tokens, size)
                return torch.randn(shape, generator=generator, device=setup.device, dtype=torch.bfloat16)

            inputs = [states(heads), states(kv_heads), states(kv_heads)]
            weight = states(heads).transpose(1, 2).float()

            def gradients(
                compute: Callable[..., torch.Tensor],
                dtype: torch.dtype,
                inputs: Sequence[torch.Tensor] = inputs,
                weight: torch.Tensor = weight,
            ) -> list[torch.Tensor]:
                own = [x.to(dtype, copy=True).requires_grad_() for x in inputs]
                output = compute(*own)  # [1, T, heads, size]
                (output.float() * weight).sum().backward()
                return [output.detach().float(), *(x.grad.float() for x in own if x.grad is not None)]

            allowed = batch.attention_mask(window)

            def dense(
                q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, allowed: torch.Tensor = allowed
            ) -> torch.Tensor:
                return scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=True).transpose(1, 2)

            exact = gradients(dense, torch.float32)

            def distance(found: list[torch.Tensor], exact: list[torch.Tensor] = exact) -> float:
                pairs = zip(found, exact, strict=True)
                return max(float((a - b).norm() / b.norm()) for a, b in pairs)

            segments = packed.PackedMask.of(batch, window)

            def by_segments(*states: torch.Tensor, mask: torch.Tensor = segments) -> torch.Tensor:
                return packed.segment_attention(module, *states, mask)[0]

            sdpa = distance(gradients(by_segments, torch.bfloat16))
            row: dict[str, Any] = {"head_size": size, "heads": heads, "kv_heads": kv_heads, "window": window}
            row |= {"sdpa_error": sdpa, "ok": sdpa < 0.02}
            if setup.device == "cuda":
                mask = packed.block_mask(batch, window)

                def flex(*states: torch.Tensor, mask: Any = mask) -> torch.Tensor:
                    return flex_attention_forward(module, *states, mask)[0]

                try:
                    row["flex_error"] = distance(gradients(flex, torch.bfloat16))
                    row["ok"] = row["ok"] and row["flex_error"] <= 2 * sdpa
                except Exception as error:  # a kernel that does not fit this GPU: a finding, and the next shape goes on
                    row |= {"flex_error": None, "error": f"{type(error).__name__}: {str(error)[:300]}", "ok": False}
            rows(row)


def training(model: str, precision: str, system: str) -> Callable[[Setup, Rows], None]:
    """Return the step that trains one system at every prompt length, shortest first.

    Args:
        model: "llama" or "qwen".
        precision: "bf16" or "nf4".
        system: as in `dpo_step`: "packed", "concatenated" or "trl".
    """

    def run(setup: Setup, rows: Rows) -> None:
        import dpo_step
        from random_models import random_model
        from transformers import AutoConfig

        from longmab_pl.preflight.memory_model import TrainingSettings, model_size, trainer_memory
        from longmab_pl.training.batch import PreferenceExample

        folder = str(random_model(setup.llama if model == "llama" else setup.qwen, setup.workdir))
        config = AutoConfig.from_pretrained(folder)
        size = model_size(config, dpo_step.LORA)
        draw = random.Random(0)
        pairs, lengths, warm = [], [], []
        for prompt in setup.prompts:
            for n in range(3 if 4096 <= prompt <= 8192 else 2):
                parts = (prompt, setup.answer, setup.answer)
                ids = [tuple(draw.randrange(10, config.vocab_size) for _ in range(k)) for k in parts]
                pairs.append(PreferenceExample(f"{prompt}-{n}", *ids))
                lengths.append(prompt)
                warm.append(n == 0)

        class StepMeter(dpo_step.Meter):
            """Time and peak memory of every step; a row is reported when the next step begins."""

            def __init__(self, device: str) -> None:
                super().__init__(device)
                self.peaks: list[int] = []
                self.reported = 0

            def step_begins(self) -> None:
                self.report()
                if self.cuda:
                    import torch

                    torch.cuda.reset_peak_memory_stats()
                super().step_begins()

            def step_ends(self) -> None:
                super().step_ends()
                self.peaks.append(self.peak() + self.held)

            def report(self) -> None:
                while self.reported < min(len(self.peaks), len(self.losses)):
                    n = self.reported
                    memory = trainer_memory(
                        size,
                        TrainingSettings(
                            tokens=lengths[n] + 2 * setup.answer,
                            nf4=precision == "nf4",
                            dtype_bytes=4 if setup.device == "cpu" else 2,
                        ),
                    )
                    rows(
                        {
                            "prompt": lengths[n],
                            "warm_up": warm[n],
                            "seconds": self.seconds[n],
                            "peak_gib": self.peaks[n] / 2**30,
                            "predicted_gib": (memory.resident + memory.step) / 2**30 if system == "packed" else None,
                            "loss": self.losses[n],
                        }
                    )
                    self.reported += 1

        case = dpo_step.Case(
            system,
            folder,
            "fp32" if setup.device == "cpu" and precision == "bf16" else precision,
            setup.device,
            setup.prompts[0],
            setup.answer,
            setup.answer,
            1,
            2,
        )
        meter = StepMeter(setup.device)
        try:
            (dpo_step.run_trl if system == "trl" else dpo_step.run_ours)(case, folder, pairs, meter)
        finally:
            meter.report()

    return run


def _module(setup: Setup, **options: Any) -> Any:
    """Return a loaded `DPOModule` over the small model, with an adapter that is not the identity."""
    import dpo_step
    import torch
    from random_models import random_model

    from longmab_pl.training.module import DPOModule

    module = DPOModule(
        str(random_model(setup.small, setup.workdir)),
        lora=dpo_step.LORA,
        dtype="bf16" if setup.device == "cuda" else "fp32",
        **options,
    )
    module.load_device = torch.device(setup.device)
    module.configure_model()
    module.to(setup.device)  # Lightning knows a module's device from such calls only
    dpo_step.set_adapter(module.policy)
    return module


def _pair(setup: Setup, prompt: int) -> Any:
    from longmab_pl.training.batch import PreferenceExample, collate

    draw = random.Random(prompt)
    lengths = (prompt, setup.answer, setup.answer)
    pair = PreferenceExample("pair", *(tuple(draw.randrange(10, 500) for _ in range(n)) for n in lengths))
    return collate([pair]).to(setup.device)


def optimizer(setup: Setup, rows: Rows) -> None:
    """Train ten steps on one pair with paged 8-bit AdamW and with AdamW: both must lower the loss."""
    found = {}
    for name in ("adamw", "paged_adamw_8bit"):
        module = _module(setup, optimizer=name, learning_rate=1e-3, nll_weight=0.0)
        steps, batch, losses = module.configure_optimizers(), _pair(setup, setup.prompts[0] // 4), []
        for _ in range(10):
            loss = module.step_loss(batch).losses.mean()
            loss.backward()
            module.on_before_optimizer_step(steps)
            steps.step()
            steps.zero_grad()
            losses.append(float(loss))
        found[name] = losses
        del module, steps
        gc.collect()
    rows(
        {
            "first_loss": found["adamw"][0],
            "adamw_last_loss": found["adamw"][-1],
            "paged_last_loss": found["paged_adamw_8bit"][-1],
            "ok": all(losses[-1] < 0.9 * losses[0] for losses in found.values()),
        }
    )


def offload(setup: Setup, rows: Rows) -> None:
    """Run a step with activations on the GPU and in host memory: equal loss and gradients, less GPU memory."""
    import torch

    found = {}
    for name in (False, True):
        module = _module(setup, activation_offload=name)
        batch = _pair(setup, setup.prompts[-2])
        seconds = 0.0
        for _ in range(2):  # the first compiles
            module.zero_grad()
            if setup.device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            loss = module.step_loss(batch).losses.mean()
            loss.backward()
            if setup.device == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() / 2**30 if setup.device == "cuda" else 0.0
        gradients = torch.cat(
            [p.grad.flatten().float().cpu() for p in module.policy.parameters() if p.grad is not None]
        )
        found[name] = (float(loss), gradients, peak, seconds)
        del module, loss
        gc.collect()
        if setup.device == "cuda":
            torch.cuda.empty_cache()
    (loss, gradients, peak, seconds), (other_loss, other_gradients, other_peak, other_seconds) = found.values()
    difference = float((gradients - other_gradients).norm() / gradients.norm())
    rows(
        {
            "prompt": setup.prompts[-2],
            "loss_difference": abs(loss - other_loss),
            "gradient_difference": difference,
            "peak_gib": peak,
            "offloaded_peak_gib": other_peak,
            "times_slower": other_seconds / seconds,
            "ok": difference < 1e-2 and other_peak <= peak,
        }
    )


def adapter(setup: Setup, rows: Rows) -> None:
    """Export an adapter, load it with PEFT alone and compare log-probabilities."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from longmab_pl.training.logprobs import text_logps

    module = _module(setup)
    ids = [random.Random(0).randrange(10, 500) for _ in range(200)]
    own = torch.tensor(module.token_logps(ids))
    base = torch.tensor(module.token_logps(ids, adapter=False))
    folder = module.save_adapter(setup.workdir / "exported-adapter")
    plain = AutoModelForCausalLM.from_pretrained(
        module.model,
        dtype=module.policy.get_base_model().dtype,
        device_map={"": setup.device},
        attn_implementation="sdpa",
    )
    loaded = PeftModel.from_pretrained(plain, folder).eval()
    with torch.no_grad():
        found = text_logps(loaded, ids).cpu()
    moved = float((own - base).abs().mean())
    difference = float((own - found).abs().mean())
    rows({"moved_nats": moved, "difference_nats": difference, "ok": difference < 0.1 * moved})


def _requests(setup: Setup, count: int, prompt: int, tokens: int) -> list[Any]:
    from longmab_pl.engines.protocol import Request, Sampling

    draw = random.Random(0)
    return [
        Request(f"r{n}", tuple(draw.randrange(10, 500) for _ in range(prompt)), Sampling(max_tokens=tokens), seed=n)
        for n in range(count)
    ]


def _answer(engine: Any, requests: Sequence[Any]) -> tuple[int, float]:
    """Return generated tokens and seconds of the engine's own loop: everything submitted at once."""
    start = time.perf_counter()
    for request in requests:
        engine.submit(request)
    tokens, left = 0, len(requests)
    while left:
        for completion in engine.poll():
            tokens += sum(completion.completion_tokens)
            left -= 1
    return tokens, time.perf_counter() - start


def generation(setup: Setup, rows: Rows) -> None:
    """Generate with the Transformers engine."""
    from random_models import random_model

    from longmab_pl.engines import TransformersEngine

    with TransformersEngine(concurrency=8) as engine:
        engine.start(str(random_model(setup.small, setup.workdir)))
        _answer(engine, _requests(setup, 2, 16, 4))
        tokens, seconds = _answer(engine, _requests(setup, 8, 64, 64 if setup.device == "cuda" else 8))
    rows({"tokens": tokens, "tokens_per_second": tokens / seconds, "ok": tokens > 0})


def _rollout(engine: Any, requests: Sequence[Any]) -> tuple[int, float]:
    """Return generated tokens and seconds of the same requests through this package's scheduler."""
    from longmab_pl.rollout.scheduler import Scheduler

    def stream(request: Any) -> Iterator[Any]:
        (completion,) = yield [request]
        return sum(completion.completion_tokens)

    start = time.perf_counter()
    tasks = ((request.id, stream(request)) for request in requests)
    tokens = sum(int(result) for _, result in Scheduler({"policy": engine}).run(tasks))
    return tokens, time.perf_counter() - start


def vllm(setup: Setup, rows: Rows) -> None:
    """Start vLLM, hand an adapter over and verify it, sleep and wake, and compare the rollout with its own loop."""
    import importlib.util
    import os

    import torch
    from random_models import random_model

    if importlib.util.find_spec("flashinfer") is None:  # vLLM asks for its sampler without looking whether it is there
        os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")

    from longmab_pl.engines import VLLMEngine
    from longmab_pl.engines.weight_sync_check import WeightSyncCheck

    cuda = setup.device == "cuda"
    module = _module(setup)
    texts = [[random.Random(n).randrange(10, 500) for _ in range(120)] for n in range(4)]
    base = [module.token_logps(ids, adapter=False) for ids in texts]
    policy = [module.token_logps(ids) for ids in texts]
    folder = module.save_adapter(setup.workdir / "synced-adapter")
    del module
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
    start = time.perf_counter()
    with VLLMEngine(
        concurrency=64 if cuda else 4, max_model_len=2048, kv_cache_gb=0.25, gpu_memory_utilization=0.4, verbose=True
    ) as engine:
        engine.start(str(random_model(setup.small, setup.workdir)))
        rows({"start_seconds": time.perf_counter() - start})
        check = WeightSyncCheck(texts)
        check.record_base(engine.score(texts), base)
        start = time.perf_counter()
        engine.sync(folder)
        seconds = time.perf_counter() - start
        result = check.compare(engine.score(texts), policy)
        rows({"sync_seconds": seconds, "sync": result.verdict, "moved": result.moved, "ok": result.verdict == "match"})
        if cuda:
            before = torch.cuda.mem_get_info()[0]
            start = time.perf_counter()
            engine.sleep()
            asleep = time.perf_counter()
            freed = torch.cuda.mem_get_info()[0] - before
            engine.wake()
            awake = time.perf_counter()
            again = check.compare(engine.score(texts), policy)
            rows(
                {
                    "sleep_seconds": asleep - start,
                    "freed_gib": freed / 2**30,
                    "wake_seconds": awake - asleep,
                    "ok": freed > 0 and again.verdict != "indistinguishable",
                }
            )
        count, prompt, tokens = (256, 512, 128) if cuda else (8, 32, 8)
        _answer(engine, _requests(setup, count // 4, prompt, tokens))
        own, own_seconds = _answer(engine, _requests(setup, count, prompt, tokens))
        ours, our_seconds = _rollout(engine, _requests(setup, count, prompt, tokens))
        rows(
            {
                "own_tokens_per_second": own / own_seconds,
                "rollout_tokens_per_second": ours / our_seconds,
                "rollout_share": (ours / our_seconds) / (own / own_seconds),
                "ok": ours == own,
            }
        )


STEPS = (
    Step("device", device, 60),
    Step("attention", attention, 120),
    Step("adapter", adapter, 60),
    Step("optimizer", optimizer, 60, ("bitsandbytes",), cuda=True),
    Step("vllm", vllm, 200, ("vllm",)),
    Step("llama bf16 packed", training("llama", "bf16", "packed"), 150),
    Step("llama bf16 trl", training("llama", "bf16", "trl"), 150, ("trl", "datasets")),
    Step("llama nf4 packed", training("llama", "nf4", "packed"), 150, ("bitsandbytes",)),
    Step("offload", offload, 90),
    Step("generation", generation, 60),
    Step("qwen bf16 packed", training("qwen", "bf16", "packed"), 120),
    Step("llama bf16 concatenated", training("llama", "bf16", "concatenated"), 150),
    Step("llama nf4 trl", training("llama", "nf4", "trl"), 150, ("trl", "datasets", "bitsandbytes")),
    Step("qwen bf16 trl", training("qwen", "bf16", "trl"), 120, ("trl", "datasets")),
    Step("qwen nf4 packed", training("qwen", "nf4", "packed"), 120, ("bitsandbytes",)),
    Step("qwen nf4 trl", training("qwen", "nf4", "trl"), 120, ("trl", "datasets", "bitsandbytes")),
)
"""In the order in which they run: what decides most comes first, since the whole check has a time limit."""
