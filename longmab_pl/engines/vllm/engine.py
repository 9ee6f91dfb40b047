"""vLLM inside this process: the default engine, on GPU and on CPU.

With one process, no orphan can be left behind, weights can be passed in memory, and `poll` is a plain loop over vLLM's
own step. But vLLM shares the process's state, so this module restores what vLLM changes: the random generators, the
environment and the log output.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.engines.random_state import isolated_rng
from longmab_pl.engines.request_checks import check_scorable
from longmab_pl.engines.state import EngineState
from longmab_pl.engines.vllm.adapter import AdapterSlot
from longmab_pl.engines.vllm.gpu_memory import check_freed, free_memory
from longmab_pl.engines.vllm.isolation import quiet_output
from longmab_pl.engines.vllm.launch import LaunchSettings, Running, launch, refuse_other_gpu, refuse_process_group
from longmab_pl.errors import EngineError

POLL_SECONDS = 0.5
"""Seconds after which `poll` returns even with nothing finished, so that the caller can update its progress bar."""


class VLLMEngine:
    """An `Engine` that runs vLLM in this process, stepping it from `poll`.

    A request's `seed` fixes its random numbers whatever else is in flight. A request without one gets a seed from the
    engine's own `seed` and the order of submission. The process's random generators are never used. Equal random
    numbers give equal texts unless two tokens are so close that the rounding of bf16 in another batch composition
    changes which is drawn: submitted in the opposite order, 94 of 96 short texts were the same.

    On the CPU build chunked prefill is off: vLLM rewinds a request's random generator after a partial prefill, which
    the CPU generator cannot do ("CPU Generator does not use offset").

    On CPU, if other processes use the cores too, set OMP_WAIT_POLICY=passive before Python starts: threads that spin at
    every barrier made decoding 18 times slower on a busy 2-core machine.

    Args:
        concurrency: number of responses generated at once (vLLM's max_num_seqs).
        max_model_len: longest prompt plus response, in tokens; None takes the model's own limit.
        kv_cache_gb: memory for the KV cache on CPU, in GiB.
        gpu_memory_utilization: share of the GPU's memory that vLLM may take; leave room for training.
        dtype: dtype of weights and activations; "auto" is bfloat16 on GPU and float32 on CPU, where many processors
            have no bf16 instructions and a small adapter merged into bf16 weights is partly lost to rounding.
        quantization: vLLM's name of a weight quantization of the base model, e.g. "fp8", made while the weights load.
        enable_prefix_caching: reuse the KV cache of shared prompt prefixes.
        kv_block_size: tokens in a block of the KV cache; prefixes are shared in whole blocks. None is 32 on CPU
            (vLLM's default of 128 would share no shorter prefix) and vLLM's choice on GPU.
        max_lora_rank: largest adapter rank (GPU), one of 1, 8, 16, 32, 64, 128, 256, 320, 512.
        adapter_sync: "merge" merges the adapter into the base model and reloads the weights in place; "lora" passes the
            adapter to vLLM's LoRA kernels. "auto" is merge on CPU, where those kernels are 4-11 times slower than the
            base model, and lora on GPU.
        enforce_eager: run the model without compilation or CUDA graphs; None does so on CPU only.
        seed: seed for requests without one.
        verbose: show vLLM's own log.

    Raises:
        ConfigError: a setting is out of range, or two contradict each other.
    """

    def __init__(
        self,
        concurrency: int = 16,
        max_model_len: int | None = None,
        kv_cache_gb: float = 2.0,
        gpu_memory_utilization: float = 0.5,
        dtype: str = "auto",
        quantization: str | None = None,
        enable_prefix_caching: bool = True,
        kv_block_size: int | None = None,
        max_lora_rank: int = 16,
        adapter_sync: Literal["auto", "merge", "lora"] = "auto",
        enforce_eager: bool | None = None,
        seed: int = 0,
        verbose: bool = False,
    ) -> None:
        self._settings = LaunchSettings(
            concurrency=concurrency,
            max_model_len=max_model_len,
            kv_cache_gb=kv_cache_gb,
            gpu_memory_utilization=gpu_memory_utilization,
            dtype=dtype,
            quantization=quantization,
            enable_prefix_caching=enable_prefix_caching,
            kv_block_size=kv_block_size,
            max_lora_rank=max_lora_rank,
            adapter_sync=adapter_sync,
            enforce_eager=enforce_eager,
            seed=seed,
            verbose=verbose,
        )
        self._reset()

    def _reset(self) -> None:
        """Clear everything that belongs to one run of the engine."""
        self._state = EngineState(self._settings.seed)
        self._run: Running | None = None
        self._adapter: AdapterSlot | None = None
        self._finalizer: weakref.finalize | None = None
        self._counter = itertools.count(1)  # of score requests

    # ------------------------------------------------------------------ life

    @property
    def settings(self) -> LaunchSettings:
        """The settings that vLLM is started with; its memory use follows from them."""
        return self._settings

    @property
    def concurrency(self) -> int:
        """Number of responses that vLLM generates at once."""
        return self._settings.concurrency

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus response, in tokens. Before `start`: as configured, 0 if the model's limit applies."""
        if self._run is None:
            return self._settings.max_model_len or 0
        return int(self._run.llm.model_config.max_model_len)

    @property
    def weight_format(self) -> str:
        """The configured dtype, quantization and way of loading adapters, except those left to the engine."""
        s = self._settings
        sync = None if s.adapter_sync == "auto" else s.adapter_sync
        return ", ".join(part for part in (s.dtype, s.quantization, sync) if part)

    @property
    def structured_output(self) -> bool:
        """True: vLLM constrains responses to a JSON schema."""
        return True

    @property
    def started(self) -> bool:
        return self._state.started

    def start(self, model: str) -> None:
        """Load `model` (a local folder or hub name); do nothing if it is running, and restart a broken engine.

        Raises:
            EngineError: vLLM is not installed, the model cannot be loaded, or it does not fit; with the likely fix. Or
                this is one of several training processes.
        """
        if self._state.runs(model):
            return
        refuse_process_group()
        refuse_other_gpu()
        self.close()
        with isolated_rng():  # modules that are imported on the way draw random numbers too
            self._run = launch(model, self._settings)
            self._state.model = model
            self._adapter = AdapterSlot(self._run.llm, model, self._run.merge_dtype, self._settings.max_lora_rank)
        # Runs when the engine is closed or garbage-collected, and otherwise when the interpreter exits.
        self._finalizer = weakref.finalize(self, self._run.stop)

    def close(self) -> None:
        """Stop vLLM and free its memory. Safe to call twice, before `start`, and after an interrupt."""
        finalizer, self._run, self._adapter = self._finalizer, None, None
        if finalizer is not None:
            finalizer()  # does its work once
        self._reset()

    def __enter__(self) -> VLLMEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sleep(self) -> None:
        """Free GPU memory for training: move weights to host memory and drop the KV cache. Do nothing on CPU.

        Raises:
            EngineError: requests are in flight, or the memory was not freed.
        """
        self._state.check_idle("sleep")
        run = self._running()
        if run.on_cpu or self._state.asleep:
            return
        with self._failures("put to sleep"):
            before = free_memory()
            run.llm.reset_prefix_cache()
            run.llm.sleep(level=1)
            self._state.asleep = True
            check_freed(run.held, before, free_memory())

    def wake(self) -> None:
        """Move the weights back to the GPU after `sleep`."""
        run = self._running()
        if self._state.asleep:
            with self._failures("woken (is there enough free GPU memory?)"):
                run.llm.wake_up()
            self._state.asleep = False

    # ------------------------------------------------------------------ requests

    def submit(self, request: Request) -> None:
        """Queue a request; the current adapter answers it.

        Raises:
            PromptTooLong: prompt + max_tokens exceeds `max_model_len`; nothing was queued.
            EngineError: the id is in flight already, the prompt is empty or holds a token outside the vocabulary, or
                the engine is not running.
        """
        from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

        llm = self._running().llm
        admitted = self._state.admit(request, self.max_model_len, self._vocabulary(llm), structured_output=True)
        wanted = request.sampling
        params = SamplingParams(
            n=request.n,
            temperature=wanted.temperature,
            top_p=wanted.top_p if wanted.temperature > 0 else 1.0,
            presence_penalty=wanted.presence_penalty,
            max_tokens=wanted.max_tokens,
            stop=list(wanted.stop) or None,
            seed=admitted.seed,
            structured_outputs=None if request.schema is None else StructuredOutputsParams(json=request.schema),
            logprobs=0 if request.logprobs else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        try:
            self._add(llm, request.id, request.prompt_ids, params)
        except EngineError:
            del self._state.in_flight[request.id]
            raise

    @staticmethod
    def _vocabulary(llm: Any) -> int:
        return int(llm.model_config.get_vocab_size())

    def _add(self, llm: Any, name: str, prompt_ids: Sequence[int], params: Any) -> None:
        assert self._adapter is not None
        try:
            llm.add_request(name, {"prompt_token_ids": list(prompt_ids)}, params, lora_request=self._adapter.lora)
        except Exception as error:
            raise EngineError(f"vLLM refused request {name!r}: {error}") from error

    def poll(self) -> list[Completion]:
        """Step vLLM until something finishes or half a second has passed, and return the finished completions.

        Raises:
            EngineError: vLLM failed; the engine must be closed and started again, also after a Ctrl-C during `poll`.
        """
        self._state.check_awake()
        llm = self._running().llm
        until = time.monotonic() + POLL_SECONDS
        finished: list[Completion] = []
        while self._state.in_flight and not finished and time.monotonic() < until:
            finished = [self._completion(output) for output in self._step(llm) if output.finished]
        return finished

    def _step(self, llm: Any) -> list[Any]:
        """Run one engine step: at most one new token for every running response, or a prefill."""
        with self._failures("stepped"), isolated_rng():
            return list(llm.step())

    def _completion(self, output: Any) -> Completion:
        request = self._state.in_flight.pop(output.request_id)
        return Completion(
            request_id=request.id,
            texts=tuple(response.text for response in output.outputs),
            finish_reasons=tuple(str(response.finish_reason) for response in output.outputs),
            completion_tokens=tuple(len(response.token_ids) for response in output.outputs),
            prompt_tokens=len(request.prompt_ids),
            cached_tokens=output.num_cached_tokens or 0,
            token_ids=tuple(tuple(response.token_ids) for response in output.outputs),
            mean_logprobs=tuple(map(_mean_logprob, output.outputs)) if request.logprobs else (),
        )

    def abort(self) -> None:
        """Drop every unfinished request. Do nothing if the engine is not running."""
        if self._run is not None and self._state.in_flight and not self._state.broken:
            with self._failures("asked to drop its requests"):
                self._run.llm.abort_request(list(self._state.in_flight))
        self._state.in_flight.clear()

    def score(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return natural-log probabilities of each prompt's tokens 1..T-1 given those before, with the current adapter.

        vLLM does not use its prefix cache for these.

        Args:
            prompts: token ids, each of length T >= 2.

        Returns:
            one list of T - 1 values for each prompt, in order.

        Raises:
            PromptTooLong: T + 1 exceeds `max_model_len`.
            EngineError: requests are in flight, or a prompt is shorter than two tokens.
        """
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        self._state.check_awake()
        self._state.check_idle("score")
        run = self._running()
        llm = run.llm
        check_scorable(prompts, self.max_model_len, self._vocabulary(llm))
        params = SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY
        )
        names = [f"score-{next(self._counter)}" for _ in prompts]
        outputs: dict[str, Any] = {}
        # vLLM's LoRA layers on CPU cannot give prompt log-probabilities to two prompts in one step.
        one_by_one = run.on_cpu and run.merge_dtype is None
        try:
            for name, prompt in zip(names, prompts, strict=True):
                self._add(llm, name, prompt, params)
                if one_by_one or name == names[-1]:
                    while llm.has_unfinished_requests():
                        outputs.update((output.request_id, output) for output in self._step(llm) if output.finished)
        except EngineError:
            if not self._state.broken:
                llm.abort_request(names)
            raise
        return [
            [
                float(row[token].logprob)
                for row, token in zip(outputs[name].prompt_logprobs[1:], prompt[1:], strict=True)
            ]
            for name, prompt in zip(names, prompts, strict=True)
        ]

    # ------------------------------------------------------------------ adapter

    def sync(self, adapter: Path | None) -> None:
        """Use this PEFT adapter folder from now on (None: the base model), with an empty prefix cache.

        Every adapter needs its own folder: vLLM identifies adapters and their cached prompts by path.

        Raises:
            EngineError: requests are in flight, the folder holds no adapter, it was synced before with other content,
                or vLLM cannot load it.
        """
        self._state.check_idle("sync")
        self._state.check_awake()
        assert self._adapter is not None
        with self._failures("given the adapter"), isolated_rng(), quiet_output(self._settings.verbose):
            self._adapter.sync(adapter)

    # ------------------------------------------------------------------ state

    def _running(self) -> Running:
        self._state.check_running()
        assert self._run is not None
        return self._run

    @contextlib.contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """Mark the engine as broken after an exception in the block: vLLM's state is then unknown."""
        try:
            yield
        except EngineError:
            raise
        except Exception as error:
            self._state.broken = f"vLLM failed when it was {what}: {type(error).__name__}: {error}"
            raise EngineError(f"{self._state.broken}; close the engine and start it again") from error
        except BaseException as error:  # Ctrl-C
            self._state.broken = f"it was interrupted ({type(error).__name__}) when it was {what}"
            raise


def _mean_logprob(response: Any) -> float:
    """Return the mean log-probability of a response's tokens, 0 without tokens."""
    return float(response.cumulative_logprob) / len(response.token_ids) if response.token_ids else 0.0
