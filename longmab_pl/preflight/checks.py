"""All checks of a configured run that need no weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longmab_pl.datamodules.base import PairDataModule
from longmab_pl.datamodules.preferences import PreferenceDataModule
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.engines.protocol import Engine
from longmab_pl.engines.vllm.engine import VLLMEngine
from longmab_pl.errors import LongMabError
from longmab_pl.models.hub import resolve_embedder
from longmab_pl.preflight.advice import Finding, judge
from longmab_pl.preflight.budget import Budget, batch_tokens, cpu_budget, gpu_budget
from longmab_pl.preflight.hardware import Machine, free_disk
from longmab_pl.preflight.inputs import check_cuts, check_data, check_model
from longmab_pl.preflight.memory_model import ENGINE_BITS, GIB, ModelSize, model_size
from longmab_pl.preflight.versions import version_rows
from longmab_pl.training.module import DPOModule
from longmab_pl.training.split_limits import uneven_processes
from longmab_pl.training.split_logps import unsplittable


class PreflightReport:
    """The results of all preflight checks, in the order in which they are shown.

    Args:
        model: the module, not loaded.
        data: the data module, not set up.
        trainer: the trainer's settings.
        machine: this computer.
        gpu_memory_gb: memory in GiB of the GPU to plan for; None: this machine.

    Attributes:
        findings: findings of all checks.
        versions: versions of the packages that matter.
        budget: memory by phase, or None if the model's dimensions are unknown.
        on_gpu: whether training is planned on a GPU.
    """

    def __init__(
        self, model: DPOModule, data: PairDataModule, trainer: Any, machine: Machine, gpu_memory_gb: float | None
    ) -> None:
        self.model = model
        self.data = data
        self.trainer = trainer
        self.machine = machine
        self.gpu_memory_gb = gpu_memory_gb
        self.engine: Engine | None = None
        if isinstance(data, RolloutDataModule | PreferenceDataModule):
            self.engine = data.engine
        self.run_folder = Path(trainer.default_root_dir or ".").expanduser()
        self.elsewhere = gpu_memory_gb is not None
        self.on_gpu = self.elsewhere or (bool(machine.gpus) and trainer.accelerator in ("auto", "gpu", "cuda"))
        self.findings: list[Finding] = []
        self.size: ModelSize | None = None
        self.budget: Budget | None = None
        self.versions = version_rows(bool(machine.gpus), vllm=isinstance(self.engine, VLLMEngine))
        self.findings += map(
            self._here, (*self._software(), *self._hardware(), *self._model(), *check_data(data, model.phases.compares))
        )
        self.findings += (*self._settings(), *self._lengths(), *self._memory())
        self.findings += map(self._here, self._disk())

    def _here(self, finding: Finding) -> Finding:
        """Return the finding, with a failure of this machine as a warning if the run is planned for another."""
        if self.elsewhere and finding.level == "fail":
            return Finding("warn", f"on this machine: {finding.text}")
        return finding

    def _software(self) -> Iterator[Finding]:
        for row in self.versions:
            if not row.fits:
                yield Finding(
                    "fail", f"{row.name} is {row.found or 'not installed'}, {row.wanted} is needed: {row.fix}"
                )

    def _hardware(self) -> Iterator[Finding]:
        wanted = self.trainer.accelerator
        if wanted in ("gpu", "cuda") and not self.machine.gpus and not self.elsewhere:
            yield Finding(
                "fail",
                "trainer.accelerator is gpu, but torch finds no CUDA GPU here; run it where there is one "
                "(--gpu-memory-gb N plans for it), or set trainer.accelerator: cpu",
            )
        if self.model.optimizer_name == "paged_adamw_8bit" and not self.on_gpu:
            yield Finding("fail", "model.optimizer paged_adamw_8bit needs a CUDA GPU; set model.optimizer: adamw")
        if not self.on_gpu and self.model.dtype_name == "bf16" and self.machine.bf16 is False:
            yield Finding(
                "warn",
                "model.dtype is bf16, but this processor has no bf16 instructions: several times slower; set "
                "model.dtype: fp32",
            )
        for gpu in () if self.elsewhere else self.machine.gpus:
            if self.on_gpu and self.model.dtype_name == "bf16" and gpu.capability < (8, 0):
                yield Finding("warn", f"{gpu.name} has no bf16 units (Ampere and later have); training will be slow")

    def _model(self) -> Iterator[Finding]:
        config, found = check_model(self.model.model)
        yield from found
        if config is None:
            return
        processes = self.model.sequence_parallel
        if processes > 1 and (why := unsplittable(config, processes)):
            yield Finding("fail", why)
        try:
            self.size = model_size(config, self.model.lora)
        except ValueError as error:
            yield Finding("fail", f"model.lora does not fit {self.model.model}: {error}")

    def _settings(self) -> Iterator[Finding]:
        if self.trainer.precision not in (None, "32-true", 32, "32"):
            yield Finding("fail", f"trainer.precision is {self.trainer.precision}; use 32-true and set model.dtype")
        yield from self._sharding()
        processes = self._processes()
        sharing = self.model.sequence_parallel
        if uneven := uneven_processes(sharing, processes):
            yield Finding("fail", uneven)
        elif processes > 1:
            share = "" if sharing == 1 else f"; each computes 1/{sharing} of a batch's tokens"
            yield Finding(
                "ok", f"{processes} processes: the budget is that of one of them, the others hold the same{share}"
            )
        if not isinstance(self.engine, VLLMEngine):
            return
        settings, lora = self.engine.settings, self.model.lora
        if settings.quantization is not None and settings.quantization not in ENGINE_BITS:
            yield Finding(
                "fail" if settings.quantization in ("bitsandbytes", "gguf") else "warn",
                f"engine.quantization {settings.quantization}: vLLM 0.32 does not have it or it is not known here; "
                f"use fp8, or one of {', '.join(sorted(ENGINE_BITS))}",
            )
        merges = settings.merges(on_cpu=not self.on_gpu)
        if not merges and lora.r > settings.max_lora_rank:
            yield Finding(
                "fail", f"model.lora.r is {lora.r}, engine.max_lora_rank {settings.max_lora_rank}: raise the latter"
            )
        if not merges and lora.dora:
            yield Finding("fail", "model.lora.dora: vLLM serves no DoRA adapter; set engine.adapter_sync: merge")
        if processes > 1:
            yield Finding(
                "fail",
                f"VLLMEngine runs inside one training process, and trainer.devices asks for {processes}; use "
                "longmab_pl.engines.ServerEngine (servers of their own)",
            )
        elif self.on_gpu and self._devices() not in ([], [0]):
            yield Finding(
                "fail",
                f"VLLMEngine takes the first GPU, and trainer.devices asks for GPU {self._devices()[0]}; set "
                f"CUDA_VISIBLE_DEVICES={self._devices()[0]} in front of the command and trainer.devices: 1",
            )

    @property
    def _sharded(self) -> bool:
        strategy = self.trainer.strategy
        return str(getattr(strategy, "class_path", strategy)).rpartition(".")[2] == "ModelParallelStrategy"

    def _sharding(self) -> Iterator[Finding]:
        if not self._sharded:
            return
        if self.model.quantization == "nf4":
            yield Finding(
                "fail",
                "model.quantization is nf4, whose packed weights cannot be sharded; set trainer.strategy: ddp, or "
                "model.quantization: none",
            )
        if self.model.optimizer_name == "paged_adamw_8bit":
            yield Finding(
                "fail", "model.optimizer paged_adamw_8bit takes no sharded weights; set model.optimizer: adamw"
            )

    def _lengths(self) -> Iterator[Finding]:
        limit = self.size.context if self.size else None
        if isinstance(self.data, RolloutDataModule) and limit is not None:
            plan = self.data.plan
            longest = plan.pairs.max_prompt_length
            if longest > limit:
                yield Finding(
                    "fail", f"data.pairs.max_prompt_length is {longest:,}, but the model takes {limit:,}; lower it"
                )
            served = min(self.data.engine.max_model_len or limit, limit)
            needed = plan.strategy.needed_model_len
            if needed > served:
                yield Finding(
                    "fail",
                    f"data.strategy needs about {needed:,} tokens (top_k x chunk_size + max_tokens), but the engine "
                    f"takes {served:,}; raise engine.max_model_len or lower top_k, chunk_size or max_tokens",
                )
            else:
                yield Finding(
                    "ok", f"lengths: rollouts {needed:,} of {served:,} tokens, pairs {longest:,} of {limit:,}"
                )
        if isinstance(self.data, RolloutDataModule):
            yield from check_cuts(self.data, self.model.model)
        if isinstance(self.engine, VLLMEngine) and limit is not None:
            asked = self.engine.settings.max_model_len
            if asked is not None and asked > limit:
                yield Finding("fail", f"engine.max_model_len is {asked:,}, but the model takes {limit:,}; lower it")

    def _devices(self) -> list[int]:
        """Return the indices of the GPUs that the trainer will use, or one number per process on CPUs."""
        devices = self.trainer.devices
        if isinstance(devices, str) and "," in devices:
            devices = [int(index) for index in devices.split(",") if index.strip()]
        if isinstance(devices, list | tuple):
            return list(devices)
        if str(devices) in ("auto", "-1"):
            return list(range(len(self.machine.gpus) if self.on_gpu and not self.elsewhere else 1))
        return list(range(int(devices)))

    def _processes(self) -> int:
        return max(1, len(self._devices())) * int(self.trainer.num_nodes or 1)

    def _memory(self) -> Iterator[Finding]:
        if self.size is None:
            return
        tokens = batch_tokens(self.data, phases=self.model.phases)
        if tokens is None:
            pair = min(self.size.context or 8192, 8192) + 1024
            tokens = batch_tokens(self.data, pair) or pair
            yield Finding(
                "warn", f"the length of the pairs is not known before they are read; taken as {pair:,} tokens each"
            )
        embedder, note = self._embedder_bytes()
        if note:
            yield Finding("warn", note)
        if self.on_gpu:
            total, capacity = self._gpu_memory()
            shards = self._processes() if self._sharded else 1
            self.budget = gpu_budget(self.model, self.engine, self.size, tokens, total, capacity, embedder, shards)
            yield from judge(self.budget, self.model, self.data)
            if not self.elsewhere and self.budget.host > self.machine.available:
                yield Finding(
                    "fail",
                    f"host memory: {self.budget.host / GIB:.1f} GiB are needed (the sleeping engine's weights wait "
                    f"there), {self.machine.available / GIB:.1f} GiB are free",
                )
        else:
            self.budget = cpu_budget(self.model, self.engine, self.size, tokens, self.machine.available, embedder)
            yield from judge(self.budget, self.model, self.data)
        longest = self.budget.longest_batch
        if tokens <= longest:
            yield Finding("ok", f"training: batches of at most {tokens:,} tokens; up to about {longest:,} would fit")

    def _gpu_memory(self) -> tuple[float, float]:
        """Return the bytes of the GPU, and how many of them this run may use."""
        if self.gpu_memory_gb is not None:
            return self.gpu_memory_gb * GIB, self.gpu_memory_gb * GIB
        chosen = [self.machine.gpus[i] for i in self._devices() if i < len(self.machine.gpus)]
        gpu = min(chosen or self.machine.gpus, key=lambda g: g.free)
        return gpu.total, gpu.free

    def _embedder_bytes(self) -> tuple[float, str]:
        """Return the bytes of the rollout's embedder on the training device, and a remark if they are unknown."""
        embedder = self.data.plan.embedder if isinstance(self.data, RolloutDataModule) else None
        if embedder is None or (self.on_gpu and embedder.device == "cpu"):
            return 0.0, ""
        name = embedder.model
        try:
            folder = Path(resolve_embedder(name))
        except LongMabError as error:
            return 0.0, f"data.embedder: {error}"
        files = list(folder.glob("*.safetensors")) or list(folder.glob("pytorch_model*.bin"))
        if not files:
            return (
                0.0,
                f"the size of data.embedder {name} is not known here and not in the budget; set data.embedder.device: "
                "cpu to keep it off the GPU",
            )
        return 2.0 * sum(f.stat().st_size for f in files), ""

    def _disk(self) -> Iterator[Finding]:
        try:
            free = free_disk(self.run_folder)
        except OSError as error:
            yield Finding("fail", f"trainer.default_root_dir {self.run_folder}: {error}")
            return
        place = self.run_folder.absolute()
        while not place.exists():
            place = place.parent
        if not os.access(place, os.W_OK):
            yield Finding("fail", f"trainer.default_root_dir: {place} cannot be written")
        if self.size is None:
            return
        # Last and best checkpoint (adapter and optimizer), three synced adapters, the final and the best one.
        needed = self.size.adapter * (2 * 12 + 5 * 4) + 0.2 * GIB
        yield Finding(
            "fail" if free < needed else "ok",
            f"disk of {self.run_folder}: about {needed / GIB:.1f} GiB needed, {free / GIB:.1f} GiB free",
        )
