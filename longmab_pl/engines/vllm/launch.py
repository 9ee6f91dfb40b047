"""Starting and stopping of vLLM inside this process, with the likely fix if it does not start."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from longmab_pl.checks import at_least, not_negative, one_of, positive, unit_interval
from longmab_pl.engines.random_state import isolated_rng
from longmab_pl.engines.vllm.gpu_memory import free_memory
from longmab_pl.engines.vllm.isolation import isolated_environment, quiet_output
from longmab_pl.engines.vllm_release import COMPACT_JSON, INSTALL, LORA_RANKS
from longmab_pl.errors import ConfigError, EngineError


@dataclass(frozen=True)
class LaunchSettings:
    """The settings that vLLM is started with; the fields are the arguments of `VLLMEngine`.

    Raises:
        ConfigError: a setting is out of range, or two contradict each other.
    """

    concurrency: int
    max_model_len: int | None
    kv_cache_gb: float
    gpu_memory_utilization: float
    dtype: str
    quantization: str | None
    enable_prefix_caching: bool
    kv_block_size: int | None
    max_lora_rank: int
    adapter_sync: Literal["auto", "merge", "lora"]
    enforce_eager: bool | None
    seed: int
    verbose: bool

    def __post_init__(self) -> None:
        at_least("engine.concurrency", self.concurrency, 1)
        at_least("engine.max_model_len", self.max_model_len, 2, or_null=True)
        positive("engine.kv_cache_gb", self.kv_cache_gb)
        unit_interval("engine.gpu_memory_utilization", self.gpu_memory_utilization, zero=False)
        if self.kv_block_size is not None and (self.kv_block_size < 16 or self.kv_block_size % 16):
            raise ConfigError(
                f"engine.kv_block_size is {self.kv_block_size}; vLLM takes multiples of 16 (on CPU best of 32), or null"
            )
        one_of("engine.max_lora_rank", self.max_lora_rank, LORA_RANKS, f"vLLM takes one of {LORA_RANKS}")
        one_of("engine.adapter_sync", self.adapter_sync, ("auto", "merge", "lora"))
        if self.adapter_sync == "merge" and self.quantization is not None:
            raise ConfigError(
                f"engine.adapter_sync is merge and engine.quantization is {self.quantization!r}: an adapter cannot be "
                "merged into quantized weights; use adapter_sync: lora or drop the quantization"
            )
        not_negative("engine.seed", self.seed, "it must not be negative")

    def weights_dtype(self, on_cpu: bool) -> str:
        """Return the dtype of the weights on this platform, with `auto` resolved."""
        if self.dtype != "auto":
            return self.dtype
        return "float32" if on_cpu else "bfloat16"

    def merges(self, on_cpu: bool, quantized: str | None = None) -> bool:
        """Return whether adapters are merged into the weights on this platform (otherwise: vLLM's LoRA kernels).

        Args:
            on_cpu: whether the platform is CPU.
            quantized: the checkpoint's own quantization, if any.

        Raises:
            ConfigError: merging is requested, and the checkpoint is quantized.
        """
        if quantized is not None and self.adapter_sync == "merge":
            raise ConfigError(
                f"engine.adapter_sync is merge, but the model's weights are quantized ({quantized}): an adapter cannot "
                "be merged into them; use adapter_sync: lora"
            )
        if self.adapter_sync != "auto":
            return self.adapter_sync == "merge"
        return on_cpu and self.quantization is None and quantized is None

    def engine_args(self, model: str, on_cpu: bool, merges: bool) -> dict[str, Any]:
        """Return the keyword arguments of `vllm.EngineArgs`."""
        args: dict[str, Any] = {
            "model": model,
            "dtype": self.weights_dtype(on_cpu),
            "quantization": self.quantization,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.concurrency,
            "enable_prefix_caching": self.enable_prefix_caching,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "enforce_eager": on_cpu if self.enforce_eager is None else self.enforce_eager,
            "seed": self.seed,
            "use_tqdm_on_load": self.verbose,
            "disable_log_stats": True,
        }
        if self.kv_block_size is not None:
            args["block_size"] = self.kv_block_size
        if on_cpu:
            # Only whole blocks are shared, and vLLM's default of 128 tokens on CPU exceeds many shared prefixes.
            args.setdefault("block_size", 32)
            args["kv_cache_memory_bytes"] = int(self.kv_cache_gb * 2**30)
            # A partial prefill rewinds the request's random generator, which the CPU generator cannot do. Without
            # chunked prefill vLLM raises the token budget of a step to max_model_len by itself.
            args["enable_chunked_prefill"] = False
        else:
            args["enable_sleep_mode"] = True
        if not merges:
            args |= {"enable_lora": True, "max_loras": 1, "max_cpu_loras": 2, "max_lora_rank": self.max_lora_rank}
        return args


@dataclass(frozen=True)
class Running:
    """A running vLLM in this process.

    Args:
        llm: the `vllm.LLMEngine`.
        on_cpu: whether it runs on CPU.
        merge_dtype: dtype of the merged weights; None: adapters use the LoRA kernels.
        held: bytes of GPU memory taken at the start; 0 on CPU.
        stop: frees everything.
    """

    llm: Any
    on_cpu: bool
    merge_dtype: str | None
    held: int
    stop: Callable[[], None]


def launch(model: str, settings: LaunchSettings) -> Running:
    """Start vLLM in this process without changing random states or environment.

    Raises:
        ConfigError: adapters would be merged into a quantized model.
        EngineError: vLLM is not installed, or the model cannot be loaded or does not fit; with the likely fix.
    """
    if (os.path.isabs(model) or model.startswith(".")) and not Path(model, "config.json").is_file():
        raise EngineError(f"the model folder {model!r} does not exist or holds no config.json; check the path")
    level = "INFO" if settings.verbose else "ERROR"
    # vLLM reads its variables at any time, so they stay set.
    os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL=level)
    set_num_threads = torch.set_num_threads  # vLLM's CPU worker replaces it: its threads are bound while it runs
    quantized = checkpoint_quantization(model)
    settings.merges(on_cpu=True, quantized=quantized)  # refused before anything is loaded
    on_cpu, merges, free_before = False, False, 0
    with isolated_rng(), isolated_environment(), quiet_output(settings.verbose) as captured:
        try:
            from vllm import EngineArgs, LLMEngine
            from vllm.config import StructuredOutputsConfig
            from vllm.platforms import current_platform

            logging.getLogger("vllm").setLevel(level)  # the variable is read at the first import only
            on_cpu = current_platform.is_cpu()
            merges = settings.merges(on_cpu, quantized)
            free_before = 0 if on_cpu else free_memory()
            threads = torch.get_num_threads()
            replies = StructuredOutputsConfig(**COMPACT_JSON)
            args = EngineArgs(**settings.engine_args(model, on_cpu, merges), structured_outputs_config=replies)
            llm = LLMEngine.from_engine_args(args)
            if not on_cpu:
                torch.set_num_threads(threads)  # vLLM leaves one, and the embedder may be on the CPU
        except ImportError as error:
            raise EngineError(f"vLLM cannot be imported ({error}); install it: {INSTALL}") from error
        except BaseException as error:
            _undo_failed_launch(set_num_threads)
            if not isinstance(error, Exception):  # Ctrl-C
                raise
            raise EngineError(_failure(model, error, on_cpu, captured)) from error

    def stop() -> None:
        """Free the model and the KV cache, and close the one-rank process group that vLLM opened."""
        nonlocal llm
        with isolated_rng(), quiet_output(settings.verbose):
            with contextlib.suppress(Exception):
                llm.engine_core.shutdown()
            llm = None
            gc.collect()
        torch.set_num_threads = set_num_threads  # type: ignore[assignment]

    held = 0 if on_cpu else max(0, free_before - free_memory())
    return Running(llm, on_cpu, settings.weights_dtype(on_cpu) if merges else None, held, stop)


def refuse_process_group() -> None:
    """Raise an error if this is one of several training processes.

    Raises:
        EngineError: torch.distributed is initialized with more than one process.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        processes = torch.distributed.get_world_size()
        if processes > 1:
            raise EngineError(
                f"vLLM cannot run inside one of {processes} training processes: it opens a process group of its own. "
                "Use longmab_pl.engines.ServerEngine, with `launch: {servers: 1}` or the addresses of "
                "`vllm serve`; see docs/engines.md"
            )


def refuse_other_gpu() -> None:
    """Raise an error if the policy is not on the first GPU.

    Raises:
        EngineError: torch's current GPU is another one.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized() and (gpu := torch.cuda.current_device()) != 0:
        raise EngineError(
            f"training is on GPU {gpu}, and vLLM in the same process always takes the first: put "
            f"CUDA_VISIBLE_DEVICES={gpu} in front of the command and set trainer.devices: 1"
        )


def checkpoint_quantization(model: str) -> str | None:
    """Return the quantization of a checkpoint's own weights ("bitsandbytes", "awq", ...), or None."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model)
    except Exception:  # loading the model will report the error
        return None
    found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method) or "some method")


def _undo_failed_launch(set_num_threads: Callable[[int], None]) -> None:
    torch.set_num_threads = set_num_threads  # type: ignore[assignment]
    with contextlib.suppress(Exception):
        from vllm.distributed import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()


def _failure(model: str, error: Exception, on_cpu: bool, captured: Path | None) -> str:
    """Return the cause and the likely fix, from vLLM's own message."""
    said = str(error).strip() or type(error).__name__
    lower = said.lower()
    room = "kv_cache_gb" if on_cpu else "gpu_memory_utilization"
    if "kv cache" in lower and ("max_model_len" in lower or "max seq len" in lower):
        fix = f"lower engine.max_model_len or raise engine.{room}"
    elif "max_model_len" in lower and "derived" in lower:
        fix = "lower engine.max_model_len to the model's own limit, or leave it null"
    elif "out of memory" in lower or "available memory" in lower or "free memory" in lower:
        fix = f"lower engine.{room}, or free memory that other processes hold"
    elif any(word in lower for word in ("repo id", "not a local folder", "huggingface", "no such file", "404")):
        fix = "check the model's name or path, and that the hub can be reached if it is a hub name"
    elif "architectures" in lower or "not supported" in lower:
        fix = "use a model that this vLLM release supports, or another engine"
    else:
        fix = "set engine.verbose: true to see vLLM's own log"
    tail = ""
    if captured is not None:
        lines = [line for line in captured.read_text(errors="replace").splitlines() if " ERROR " in line]
        tail = "".join(f"\n  vLLM: {line}" for line in lines[-3:])
    return f"vLLM cannot start {model!r}: {said}\n  fix: {fix}{tail}"
