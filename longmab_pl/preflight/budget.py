"""The memory budget of a configured run, by phase."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.datamodules.preferences import PreferenceDataModule
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.engines.vllm.engine import VLLMEngine
from longmab_pl.preflight.memory_model import (
    CUDA_CONTEXT,
    CUDA_GRAPHS,
    ENGINE_BITS,
    GIB,
    NF4_BITS,
    PROCESS,
    EngineMemory,
    EngineSettings,
    ModelSize,
    TrainingSettings,
    engine_memory,
    trainer_memory,
    weight_bytes,
)
from longmab_pl.training.module import DPOModule
from longmab_pl.training.phases import PhasePlan
from longmab_pl.training.reference import FROZEN_COPIES, WITHIN_POLICY

MARGIN = 0.05
"""Share of the memory that should stay free, for fragmentation and for what the formulae leave out."""

PHASES = ("rollout", "reference", "training")
"""Names of the phases: rollout or evaluation (engine awake), reference pass and training step (engine asleep)."""


@dataclass(frozen=True)
class Line:
    """One item in memory: bytes in each of `PHASES`, and the settings that determine them."""

    name: str
    phases: tuple[float, float, float]
    settings: str = ""


@dataclass(frozen=True)
class Budget:
    """The memory use of a device by phase.

    Args:
        device: "GPU" or "host memory".
        lines: the items in memory.
        total: bytes of the device.
        capacity: of those, bytes that this run may use.
        engine: how vLLM divides its share, or None without an engine in this process.
        engine_settings: the settings from which `engine` was computed.
        training: the trainer's settings.
        size: size of the model.
        host: additional bytes of host memory that a GPU run needs; 0 on a CPU.
    """

    device: str
    lines: tuple[Line, ...]
    total: float
    capacity: float
    engine: EngineMemory | None
    engine_settings: EngineSettings | None
    training: TrainingSettings
    size: ModelSize
    host: float = 0.0

    @property
    def totals(self) -> tuple[float, ...]:
        """Total bytes by phase."""
        return tuple(sum(line.phases[i] for line in self.lines) for i in range(len(PHASES)))

    @property
    def longest_batch(self) -> int:
        """Maximum number of tokens of a packed batch with which the training step fits, with the margin."""
        others = self.totals[2] - trainer_memory(self.size, self.training).step
        room = self.capacity * (1 - MARGIN) - others

        def fits(tokens: int) -> bool:
            return trainer_memory(self.size, replace(self.training, tokens=tokens)).step <= room

        low, high = 0, 1
        while fits(high) and high < 2**24:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low


def batch_tokens(data: PairDataModule, pair: int | None = None, phases: PhasePlan | None = None) -> int | None:
    """Return the tokens of the largest packed batch that a data module's settings allow, or None if unknown.

    A pair's prompt and its longer answer share `max_prompt_length` (`max_length` for existing pairs); the other answer
    follows them. A pair over `max_tokens_per_batch` is a batch of its own.

    Args:
        data: the data module.
        pair: tokens of the longest pair, if known or estimated.
        phases: the module's phases; a short prompt, or the group of all responses, is added to a rollout's pairs where
            they train on it.
    """
    if pair is None:
        if isinstance(data, RolloutDataModule):
            strategy = data.plan.strategy
            pair = data.plan.pairs.max_prompt_length + strategy.max_response_tokens
            if phases is not None and phases.needs_group:
                pair += max(0, strategy.expected_responses - 2) * strategy.max_response_tokens
            if phases is not None and phases.needs_short_prompt:
                pair += strategy.needed_model_len + strategy.max_response_tokens
        elif isinstance(data, PreferenceDataModule) and data.max_length is not None:
            pair = data.max_length + min(1024, data.max_length)
        else:
            return None
    packed = data.max_tokens_per_batch
    return max(pair, packed) if packed is not None else pair * int(data.batch_size)


def training_settings(
    model: DPOModule, size: ModelSize, tokens: int, on_gpu: bool, shards: int = 1
) -> TrainingSettings:
    """Return the settings that determine the module's memory; a separate reference model has the policy's size.

    Args:
        model: the module, not loaded.
        size: size of the model.
        tokens: tokens of the largest packed batch.
        on_gpu: whether it trains on a GPU.
        shards: number of processes over which the layers' weights are spread (FSDP2).
    """
    nf4 = model.quantization == "nf4"
    dtype_bytes = 4 if model.dtype_name == "fp32" else 2
    separate = model.phases.needs_reference and model.reference not in WITHIN_POLICY
    return TrainingSettings(
        tokens=tokens,
        nf4=nf4,
        dtype_bytes=dtype_bytes,
        gradient_checkpointing=model.gradient_checkpointing,
        offload=model.activation_offload and on_gpu,
        paged_8bit=model.optimizer_name == "paged_adamw_8bit",
        adapter_copies=2 if model.reference in FROZEN_COPIES else 1,
        separate_reference=weight_bytes(size, NF4_BITS if nf4 else 8 * dtype_bytes, dtype_bytes) if separate else 0.0,
        chunk=model.logprob_chunk,
        dense_mask=model.attention == "eager",
        sequence_parallel=model.sequence_parallel,
        shards=shards,
    )


def _engine_settings(engine: VLLMEngine, size: ModelSize, share: float, on_cpu: bool) -> EngineSettings:
    settings = engine.settings
    length = settings.max_model_len or size.context or 4096
    return EngineSettings(
        share=share,
        bits=ENGINE_BITS.get(settings.quantization or "", 8.0 * (bytes_of := _dtype_bytes(settings, on_cpu))),
        dtype_bytes=bytes_of,
        kv_bytes=bytes_of,
        concurrency=settings.concurrency,
        max_model_len=length,
        lora_rank=0 if settings.merges(on_cpu) else settings.max_lora_rank,
        graphs=not on_cpu and not settings.enforce_eager,
    )


def _dtype_bytes(settings: Any, on_cpu: bool) -> int:
    return 4 if settings.weights_dtype(on_cpu) in ("float32", "float") else 2


def gpu_budget(
    model: DPOModule,
    engine: Any,
    size: ModelSize,
    tokens: int,
    total: float,
    capacity: float,
    embedder: float = 0.0,
    shards: int = 1,
) -> Budget:
    """Return the budget of one GPU that training shares with the engine, if that runs in this process.

    Args:
        model: the module, not loaded.
        engine: engine of the rollouts; None or one in other processes takes no memory here.
        size: size of the model.
        tokens: tokens of the largest packed batch.
        total: bytes of the GPU.
        capacity: of those, bytes that this run may use.
        embedder: bytes of the rollout's embedder on this GPU.
        shards: as in `training_settings`.
    """
    training = training_settings(model, size, tokens, on_gpu=True, shards=shards)
    trainer = trainer_memory(size, training)
    inside: EngineMemory | None = None
    settings: EngineSettings | None = None
    lines = [Line("CUDA context", (CUDA_CONTEXT,) * 3), *_trainer_lines(model, trainer, size)]
    if embedder:
        lines.append(Line("embedder", (embedder,) * 3, "data.embedder.device"))
    host = PROCESS + trainer.host
    if isinstance(engine, VLLMEngine):
        share = engine.settings.gpu_memory_utilization * total
        settings = _engine_settings(engine, size, share, on_cpu=False)
        inside = engine_memory(size, settings, model.lora.r)
        graphs = CUDA_GRAPHS if settings.graphs else 0.0
        lines += [
            Line("engine: weights", (inside.weights + inside.adapter, 0, 0), "engine.quantization"),
            Line("engine: activations", (inside.activations, 0, 0), "engine.concurrency"),
            Line("engine: CUDA graphs", (graphs,) * 3, "engine.enforce_eager"),
            Line("engine: KV cache", (inside.kv_cache, 0, 0), "engine.gpu_memory_utilization"),
        ]
        host += inside.weights + inside.adapter  # sleep level 1 keeps them in pinned host memory
    lines += _step_lines(trainer)
    return Budget("GPU", tuple(lines), total, capacity, inside, settings, training, size, host)


def cpu_budget(model: DPOModule, engine: Any, size: ModelSize, tokens: int, capacity: float, embedder: float) -> Budget:
    """Return the budget of a run on a CPU, where the engine never sleeps and all items share one memory."""
    training = training_settings(model, size, tokens, on_gpu=False)
    trainer = trainer_memory(size, training)
    inside: EngineMemory | None = None
    settings: EngineSettings | None = None
    lines = [Line("Python, libraries", (PROCESS,) * 3), *_trainer_lines(model, trainer, size)]
    if embedder:
        lines.append(Line("embedder", (embedder,) * 3, "data.embedder.model"))
    if isinstance(engine, VLLMEngine):
        kv_cache = engine.settings.kv_cache_gb * GIB
        settings = _engine_settings(engine, size, kv_cache, on_cpu=True)
        inside = replace(engine_memory(size, settings, model.lora.r), kv_cache=kv_cache)
        # The merge builds the model in float32 in addition to the engine's own.
        merge = weight_bytes(size, 32, 4) if settings.lora_rank == 0 else 0.0
        lines += [
            Line("engine: weights", (inside.weights + inside.adapter,) * 3, "engine.dtype"),
            Line("engine: activations", (inside.activations, 0, 0), "engine.concurrency"),
            Line("engine: KV cache", (kv_cache,) * 3, "engine.kv_cache_gb"),
            Line("engine: merging the adapter", (merge, 0, 0), "engine.adapter_sync"),
        ]
    lines += _step_lines(trainer)
    return Budget("host memory", tuple(lines), capacity, capacity, inside, settings, training, size)


def _trainer_lines(model: DPOModule, trainer: Any, size: ModelSize) -> list[Line]:
    kind = "NF4" if model.quantization == "nf4" else model.dtype_name
    return [
        Line(f"policy: weights ({kind})", (trainer.weights,) * 3, "model.quantization"),
        Line("policy: adapter, optimizer", (trainer.adapter,) * 3, "model.lora.r, model.optimizer"),
    ]


def _step_lines(trainer: Any) -> list[Line]:
    return [
        Line("reference: one layer", (0, trainer.reference_pass, 0), "data.pairs.max_prompt_length"),
        Line("gradients, optimizer step", (0, 0, trainer.gradients), "model.lora.r"),
        Line("activations: layer inputs", (0, 0, trainer.layer_inputs), "data.pairs.max_prompt_length"),
        Line(
            "activations: one layer" if trainer.layer > trainer.head else "activations: output head",
            (0, 0, max(trainer.layer, trainer.head)),
            "data.pairs.max_prompt_length" if trainer.layer > trainer.head else "model.logprob_chunk",
        ),
    ]
