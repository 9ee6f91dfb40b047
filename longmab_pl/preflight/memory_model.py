"""The memory of one GPU (or a CPU's memory) in each phase of a run, computed before anything is loaded.

Parameters and adapter are counted on the model itself, built without memory (torch's meta device) and wrapped by PEFT.
Activations follow a formula per layer. Its coefficients were measured on the training step of this package, run on
shape-only tensors of Llama-3.1-8B and Qwen2.5-7B; `tests/preflight/test_memory_model.py` keeps it within 10% of those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longmab_pl.models.tokenizer import position_limit

if TYPE_CHECKING:
    from longmab_pl.training.policy import LoRASettings

GIB = 2**30

NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits per weight of NF4 with double quantization (QLoRA, arXiv:2305.14314, section 3): 4, an 8-bit scale per 64
weights, and a 32-bit scale per 256 of those: 4.127."""

ENGINE_BITS = {
    "fp8": 8.0,
    "fp8_per_tensor": 8.0,
    "fp8_per_channel": 8.0,
    "fp8_per_block": 8.0,
    "mxfp8": 8.25,
    "awq": 4.25,
    "awq_marlin": 4.25,
    "gptq": 4.25,
    "gptq_marlin": 4.25,
    "mxfp4": 4.25,
}
"""Bits per weight of linear layers under vLLM's quantizations; embeddings and output head stay in the engine's dtype.
fp8, mxfp8 and mxfp4 are made from the plain checkpoint while it loads, awq and gptq need a checkpoint of their
own."""

CUDA_CONTEXT = 0.75 * GIB
"""Bytes of CUDA's own memory and the workspaces of cuBLAS and Triton, once per process (estimate)."""

CUDA_GRAPHS = 0.5 * GIB
"""Bytes of vLLM's captured graphs, which stay while it sleeps (estimate)."""

ENGINE_STEP_TOKENS = 2048
"""vLLM's `max_num_batched_tokens` for an engine in this process: prompt tokens per step."""

PROCESS = 2.5 * GIB
"""Bytes of host memory of Python with torch, Transformers and vLLM imported (measured 2.2 GiB on a CPU)."""


@dataclass(frozen=True)
class ModelSize:
    """The dimensions of a causal language model with a LoRA adapter that determine its memory.

    Args:
        parameters: number of parameters of the base model, shared ones counted once.
        linear: of those, the weights of linear layers without the output head, which quantization shrinks.
        largest_linear: number of parameters of the largest such weight.
        adapter: number of trained parameters.
        layers: number of decoder layers.
        hidden: width H.
        intermediate: width I of the feed-forward layer.
        kv_values: numbers in the KV cache per token, over all layers: 2 x layers x KV heads x head size.
        vocabulary: number of rows of the output head.
        context: maximum number of positions, in tokens, or None.
    """

    parameters: int
    linear: int
    largest_linear: int
    adapter: int
    layers: int
    hidden: int
    intermediate: int
    kv_values: int
    vocabulary: int
    context: int | None


def model_size(config: Any, lora: LoRASettings) -> ModelSize:
    """Return the size of a Transformers config's model with this adapter, without allocating its weights.

    Raises:
        ValueError: the adapter's target modules fit none of its layers (PEFT's own message).
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config)
        head = base.get_output_embeddings()
        linear = [m.weight.numel() for m in base.modules() if isinstance(m, torch.nn.Linear) and m is not head]
        parameters = sum(p.numel() for p in base.parameters())
        base.requires_grad_(False)
        policy = get_peft_model(base, lora.to_peft(), low_cpu_mem_usage=True)
        adapter = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    text = config.get_text_config()
    heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    return ModelSize(
        parameters=parameters,
        linear=sum(linear),
        largest_linear=max(linear, default=0),
        adapter=adapter,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        kv_values=2 * text.num_hidden_layers * kv_heads * head_size,
        vocabulary=text.vocab_size,
        context=position_limit(config),
    )


def weight_bytes(size: ModelSize, bits: float, other_bytes: int = 2) -> float:
    """Return the bytes of the base model: `bits` per weight of linear layers, `other_bytes` per other parameter
    (embeddings, output head, norms)."""
    return size.linear * bits / 8 + (size.parameters - size.linear) * other_bytes


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of `DPOModule` and the data that determine the trainer's memory.

    Args:
        tokens: T, number of tokens of the largest packed batch.
        nf4: whether base weights are in NF4.
        dtype_bytes: bytes per base weight and activation: 2 (bf16) or 4 (fp32).
        gradient_checkpointing: whether each layer is computed again in the backward pass.
        offload: whether layer inputs are kept in host memory until the backward pass.
        paged_8bit: whether AdamW states have 8 bits in place of float32.
        adapter_copies: 2 with a frozen adapter as reference, otherwise 1.
        separate_reference: bytes of the parameters of a second model as reference.
        chunk: number of rows that go through the output head at once.
        dense_mask: whether attention needs a T x T mask in memory (neither FlexAttention nor attention by segments).
        sequence_parallel: number of processes that share each batch's tokens.
        shards: number of processes over which the layers' weights are spread (FSDP2).
    """

    tokens: int
    nf4: bool = False
    dtype_bytes: int = 2
    gradient_checkpointing: bool = True
    offload: bool = False
    paged_8bit: bool = False
    adapter_copies: int = 1
    separate_reference: float = 0.0
    chunk: int = 128
    dense_mask: bool = False
    sequence_parallel: int = 1
    shards: int = 1


@dataclass(frozen=True)
class TrainerMemory:
    """Bytes of the trainer's memory: `weights` and `adapter` (with optimizer states) always, the rest in a step."""

    weights: float
    adapter: float
    gradients: float
    layer_inputs: float
    layer: float
    head: float
    reference_pass: float
    host: float

    @property
    def resident(self) -> float:
        """Bytes between steps."""
        return self.weights + self.adapter

    @property
    def step(self) -> float:
        """Additional bytes at the peak of a training step: in the backward pass of either a layer or the head."""
        return self.gradients + self.layer_inputs + max(self.layer, self.head)


def trainer_memory(size: ModelSize, run: TrainingSettings) -> TrainerMemory:
    """Return the trainer's memory for batches of `run.tokens` tokens.

    Per token and layer, in bytes, with H and I the widths (bf16 base, float32 adapter on all linear layers): 40 H +
    10 I are kept for the backward pass, mostly each adapter's float32 input; recomputing and going back takes 48 H +
    14 I at its peak. With a float32 base: 33 H + 16 I and 33 H + 24 I. Checkpointing keeps H values per layer.
    The reference pass takes 12 H + 12 I (16 and 16) of one layer. With sequence parallelism T is a process's slice.

    Of weights that are spread over S processes one S-th remains in each, and the output head. A step holds two layers
    in whole (one that computes, one that is on its way), and the embeddings.
    """
    t, b = -(-run.tokens // run.sequence_parallel), run.dtype_bytes
    kept, peak = _layer_bytes(size, b)
    mask = t * t * (1 + b) if run.dense_mask else 0
    # The final norm's float32 copy and the embeddings stay in memory with the layers' inputs.
    ends = t * size.hidden * (4 + 2 * b)
    inputs = size.layers * t * size.hidden * b if run.gradient_checkpointing else size.layers * t * kept
    layer = t * (peak if run.gradient_checkpointing else peak - kept)
    if run.nf4:
        # Weights are dequantized one at a time, and PEFT copies each output before it adds the adapter's.
        layer += 2 * size.largest_linear * b + t * size.intermediate * b
    states = size.adapter * (2 if run.paged_8bit else 8)
    weights = weight_bytes(size, NF4_BITS if run.nf4 else 8 * b, b)
    if run.shards > 1:
        head = size.vocabulary * size.hidden * b
        weights = (weights - head) / run.shards + 2 * head + 2 * size.linear / size.layers * b
    offloaded = inputs if run.offload else 0.0
    return TrainerMemory(
        weights=weights + run.separate_reference,
        adapter=(size.adapter * 4 * run.adapter_copies + states) / run.shards,
        gradients=size.adapter * 4 * 2 / run.shards,  # the optimizer's step makes copies of the same size
        layer_inputs=inputs - offloaded + ends + mask,
        layer=layer,
        head=run.chunk * size.vocabulary * (b + 3 * 4),
        reference_pass=t * (16 if b == 4 else 12) * (size.hidden + size.intermediate) + mask,
        host=offloaded,
    )


def _layer_bytes(size: ModelSize, dtype_bytes: int) -> tuple[float, float]:
    """Return the bytes per token that one layer keeps for its backward pass, and that it takes at its peak."""
    h, i = size.hidden, size.intermediate
    if dtype_bytes == 4:
        return 33 * h + 16 * i, 33 * h + 24 * i
    return 40 * h + 10 * i, 48 * h + 14 * i


@dataclass(frozen=True)
class EngineSettings:
    """The settings of `VLLMEngine` that determine its memory.

    Args:
        share: bytes it may take (`gpu_memory_utilization` x the GPU's memory); on a CPU the KV cache alone.
        bits: bits per weight of linear layers.
        dtype_bytes: bytes per other parameter and activation.
        kv_bytes: bytes per number in the KV cache.
        concurrency: number of responses generated at once.
        max_model_len: longest prompt plus response, in tokens.
        lora_rank: the largest adapter rank; 0 if adapters are merged.
        graphs: whether CUDA graphs are captured.
    """

    share: float
    bits: float
    dtype_bytes: int
    kv_bytes: int
    concurrency: int
    max_model_len: int
    lora_rank: int
    graphs: bool


@dataclass(frozen=True)
class EngineMemory:
    """Bytes inside the engine's share, and the size of its KV cache."""

    weights: float
    adapter: float
    activations: float
    graphs: float
    kv_cache: float
    kv_per_token: float

    @property
    def kv_tokens(self) -> int:
        """Number of tokens whose keys and values fit at once."""
        return max(0, math.floor(self.kv_cache / self.kv_per_token))


def engine_memory(size: ModelSize, run: EngineSettings, adapter_rank: int) -> EngineMemory:
    """Return how vLLM divides its share: the KV cache gets what weights, adapter slot, activations and graphs leave.

    Args:
        size: size of the model.
        run: the engine's settings.
        adapter_rank: the rank that `size.adapter` was counted with.
    """
    weights = weight_bytes(size, run.bits, run.dtype_bytes)
    adapter = size.adapter * run.lora_rank / adapter_rank * run.dtype_bytes
    # A prefill step's widest layer, and the sampler's copies of the logits (float32, sorted with indices).
    step = ENGINE_STEP_TOKENS * (3 * size.intermediate + 6 * size.hidden) * run.dtype_bytes
    activations = step + run.concurrency * size.vocabulary * 4 * 5
    graphs = CUDA_GRAPHS if run.graphs else 0.0
    return EngineMemory(
        weights=weights,
        adapter=adapter,
        activations=activations,
        graphs=graphs,
        kv_cache=run.share - weights - adapter - activations - graphs,
        kv_per_token=size.kv_values * run.kv_bytes,
    )
