"""Advice on a run's memory budget: which phases do not fit, and which setting to change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.preflight.budget import MARGIN, PHASES, Budget
from longmab_pl.preflight.memory_model import GIB
from longmab_pl.training.module import DPOModule


@dataclass(frozen=True)
class Finding:
    """The result of one check of the configuration: `level` is "ok", "warn" or "fail"."""

    level: Literal["ok", "warn", "fail"]
    text: str


def judge(budget: Budget, model: DPOModule, data: PairDataModule) -> list[Finding]:
    """Return the phases that do not fit, and for each the setting to change and its new value.

    Args:
        budget: memory budget of the run.
        model: the module.
        data: the data module.
    """
    findings = []
    for index, (phase, needed) in enumerate(zip(PHASES, budget.totals, strict=True)):
        if needed <= budget.capacity * (1 - MARGIN):
            continue
        over = needed > budget.capacity
        text = (
            f"{phase} needs {needed / GIB:.1f} GiB of {budget.capacity / GIB:.1f} GiB {budget.device}"
            f"{': it will run out of memory' if over else ', which leaves little for fragmentation'}; "
            f"{_fix(index, budget, model, data)}"
        )
        findings.append(Finding("fail" if over else "warn", text))
    return [*findings, *_judge_engine(budget)]


def _judge_engine(budget: Budget) -> list[Finding]:
    inside, settings = budget.engine, budget.engine_settings
    if inside is None or settings is None:
        return []
    room = "engine.kv_cache_gb" if budget.device != "GPU" else "engine.gpu_memory_utilization"
    longest = settings.max_model_len
    if inside.kv_tokens < longest:
        lower = inside.kv_tokens // 256 * 256
        needed = longest * inside.kv_per_token - inside.kv_cache
        return [
            Finding(
                "fail",
                f"the KV cache holds {inside.kv_tokens:,} tokens, but engine.max_model_len is {longest:,}: vLLM "
                f"will not start; raise {room} by {needed / GIB:.1f} GiB"
                + (f" (to {_rounded_up((settings.share + needed) / budget.total)})" if budget.device == "GPU" else "")
                + (f", or lower engine.max_model_len to {lower:,}" if lower else "")
                + (", or set engine.quantization: fp8" if settings.bits > 8 and budget.device == "GPU" else ""),
            )
        ]
    at_once = inside.kv_tokens / longest
    text = f"the KV cache holds {inside.kv_tokens:,} tokens: {at_once:.1f} answers of engine.max_model_len at once"
    if at_once < 1.5 and settings.concurrency > 4:
        return [Finding("warn", f"{text}, for engine.concurrency {settings.concurrency}; raise {room}")]
    return [Finding("ok", f"{text} (engine.concurrency {settings.concurrency} where prompts are shorter)")]


def _fix(phase: int, budget: Budget, model: DPOModule, data: PairDataModule) -> str:
    """Return the change that brings one phase below the margin."""
    over = budget.totals[phase] - budget.capacity * (1 - MARGIN)
    if budget.device != "GPU" and (smaller := _smaller_cache(budget, over)) is not None:
        return smaller
    if phase == 0:
        return _fix_rollout(budget, model, over)
    if phase == 2 and not model.gradient_checkpointing:
        return "set model.gradient_checkpointing: true"
    if (shorter := _shorter(budget, data)) is not None:
        if budget.device != "GPU":
            return shorter
        offload = "" if budget.training.offload else ", set model.activation_offload: true"
        several = "several" if budget.training.sequence_parallel == 1 else "more"
        return f"{shorter}{offload}, or let {several} GPUs share each sequence (model.sequence_parallel)"
    if model.quantization != "nf4":
        return "set model.quantization: nf4"
    return f"use a smaller model or more {budget.device}"


def _smaller_cache(budget: Budget, over: float) -> str | None:
    """Return a smaller KV cache that helps in every phase (a CPU engine never sleeps), if one answer still fits."""
    if budget.engine is None or budget.engine_settings is None:
        return None
    smaller = budget.engine.kv_cache - over
    if smaller < budget.engine_settings.max_model_len * budget.engine.kv_per_token:
        return None
    return f"lower engine.kv_cache_gb to {math.floor(smaller / GIB * 10) / 10:.1f}"


def _fix_rollout(budget: Budget, model: DPOModule, over: float) -> str:
    inside, settings = budget.engine, budget.engine_settings
    if inside is None or settings is None or budget.device != "GPU":
        return "set model.quantization: nf4" if model.quantization != "nf4" else "use a smaller model"
    share = settings.share - over
    if inside.kv_cache - over >= settings.max_model_len * inside.kv_per_token:
        return f"lower engine.gpu_memory_utilization to {math.floor(share / budget.total * 100) / 100:.2f}"
    changes = [] if model.quantization == "nf4" else ["model.quantization: nf4"]
    changes += ["engine.quantization: fp8"] if settings.bits > 8 else []
    if not changes:
        changes = ["a shorter engine.max_model_len", "an engine on another GPU (ServerEngine)"]
    return f"use {' and '.join(changes)}, then lower engine.gpu_memory_utilization"


def _shorter(budget: Budget, data: PairDataModule) -> str | None:
    """Return the change that makes batches short enough, or None if they would be too short to be useful."""
    longest = budget.longest_batch
    if longest < 512:
        return None
    fits = f"(batches of {longest:,} tokens fit)"
    packed = data.max_tokens_per_batch
    if packed is not None and packed >= budget.training.tokens:
        return f"lower data.max_tokens_per_batch to {longest // 256 * 256:,}"
    if packed is None and data.batch_size > 1:
        return f"lower data.batch_size and raise trainer.accumulate_grad_batches {fits}"
    name = "pairs.max_prompt_length" if isinstance(data, RolloutDataModule) else "max_length"
    return f"lower data.{name} by {math.ceil((budget.training.tokens - longest) / 256) * 256:,} tokens {fits}"


def _rounded_up(share: float) -> str:
    return f"{math.ceil(share * 100) / 100:.2f}"
