"""Transformers' `generate` in this process: the engine for machines where vLLM cannot be installed.

It needs nothing that training does not need and works in every process of a distributed run. It is slow: a batch runs
until its longest answer ends, and there is no prefix cache.
"""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import torch

from longmab_pl.checks import at_least, not_negative, one_of
from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.engines.random_state import isolated_rng
from longmab_pl.engines.request_checks import check_scorable
from longmab_pl.engines.state import EngineState
from longmab_pl.engines.transformers.conversation import Conversation
from longmab_pl.errors import ConfigError, EngineError
from longmab_pl.models.adapter_files import check_adapter
from longmab_pl.models.hub import nf4_config
from longmab_pl.models.tokenizer import position_limit

SCORE_ROWS = 512
"""Number of positions whose log-probabilities over the vocabulary are in memory at once."""


class TransformersEngine:
    """An `Engine` that runs Transformers' `generate`, one batch per `poll`.

    A batch holds the request that has waited longest and those nearest to it in prompt length, whatever their sampling
    settings.

    A request's seed fixes its random numbers whatever else is in the batch (`batch.RowSampler`). Results depend on
    scheduling only where two tokens are so close that rounding in another batch composition decides. vLLM draws other
    numbers: with temperature 0 both engines answer the same, otherwise they agree only in distribution.

    Args:
        concurrency: maximum number of responses in a batch.
        max_model_len: longest prompt plus response, in tokens; None: the model's own limit.
        dtype: dtype of the weights; "auto" is bfloat16 on GPU and float32 on CPU.
        quantization: "nf4" loads the base model in 4 bits (adapters are never merged into it).
        device: "auto" is the current GPU if there is one.
        attention: Transformers' name of an attention implementation; None: its default.
        seed: seed for requests without one.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        concurrency: int = 8,
        max_model_len: int | None = None,
        dtype: str = "auto",
        quantization: Literal["nf4"] | None = None,
        device: str = "auto",
        attention: str | None = None,
        seed: int = 0,
    ) -> None:
        at_least("engine.concurrency", concurrency, 1)
        at_least("engine.max_model_len", max_model_len, 2, or_null=True)
        if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ConfigError(f"engine.dtype is {dtype!r}; use auto, float32, bfloat16 or float16")
        one_of("engine.quantization", quantization, ("nf4", None))
        not_negative("engine.seed", seed, "it must not be negative")
        self._concurrency = concurrency
        self._configured_len = max_model_len
        self._dtype = dtype
        self._quantization = quantization
        self._configured_device = device
        self._attention = attention
        self._seed = seed
        self._reset()

    def _reset(self) -> None:
        self._state = EngineState(self._seed)
        self._model: Any = None  # a Transformers model, or the PeftModel around it
        self._tokenizer: Any = None
        self._device = torch.device("cpu")
        self._vocabulary = 0
        self._max_model_len = 0
        self._ends: frozenset[int] = frozenset()  # token ids that end a response

    # ------------------------------------------------------------------ life

    @property
    def weight_format(self) -> str:
        """Engine name, dtype and quantization as configured."""
        return ", ".join(part for part in ("Transformers", self._dtype, self._quantization) if part)

    @property
    def concurrency(self) -> int:
        """Maximum number of responses in a batch."""
        return self._concurrency

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus response, in tokens. Before `start`: as configured, 0 if the model's limit applies."""
        return self._max_model_len or self._configured_len or 0

    @property
    def structured_output(self) -> bool:
        """False: `generate` does not follow a JSON schema."""
        return False

    @property
    def started(self) -> bool:
        return self._state.started

    def start(self, model: str) -> None:
        """Load `model` (a local folder or hub name); do nothing if it is loaded.

        Raises:
            EngineError: the model cannot be loaded, or `max_model_len` exceeds its limit.
        """
        if self._state.runs(model):
            return
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        if self._configured_device != "auto":
            self._device = torch.device(self._configured_device)
        elif torch.cuda.is_available():
            self._device = torch.device("cuda", torch.cuda.current_device())
        try:
            with isolated_rng():
                tokenizer = AutoTokenizer.from_pretrained(model)
                loaded = AutoModelForCausalLM.from_pretrained(model, **self._load_arguments())
        except (OSError, ValueError, ImportError) as error:
            raise EngineError(f"Transformers cannot load {model!r}: {error}") from error
        limit = position_limit(loaded.config)
        if limit is None and self._configured_len is None:
            raise EngineError(
                f"the config of {model!r} does not say how long a prompt may be; set engine.max_model_len"
            )
        if limit is not None and (self._configured_len or 0) > limit:
            raise EngineError(f"engine.max_model_len is {self._configured_len}, but {model!r} takes {limit} tokens")
        ends = loaded.generation_config.eos_token_id
        ends = frozenset([ends] if isinstance(ends, int) else ends or ()) | {tokenizer.eos_token_id} - {None}
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
        # The checkpoint's default sampling settings must not be added to those of the request.
        loaded.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=sorted(ends) or None, pad_token_id=pad
        )
        self._ends = ends
        self._vocabulary = loaded.get_input_embeddings().num_embeddings
        self._max_model_len = self._configured_len or int(limit or 0)
        self._model, self._tokenizer, self._state.model = loaded.eval(), tokenizer, model

    def _load_arguments(self) -> dict[str, Any]:
        on_gpu = self._device.type == "cuda"
        dtype = getattr(torch, self._dtype if self._dtype != "auto" else ("bfloat16" if on_gpu else "float32"))
        arguments: dict[str, Any] = {"dtype": dtype, "device_map": {"": self._device}}
        if self._attention is not None:
            arguments["attn_implementation"] = self._attention
        if self._quantization is not None:
            arguments["quantization_config"] = nf4_config(dtype)
        return arguments

    def close(self) -> None:
        """Free the model. Safe to call twice and before `start`."""
        self._reset()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def __enter__(self) -> TransformersEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sleep(self) -> None:
        """Free GPU memory for training: move the weights to host memory. Do nothing on CPU.

        Raises:
            EngineError: requests are in flight.
        """
        self._state.check_idle("sleep")
        if self._device.type == "cuda" and not self._state.asleep:
            self._model.to("cpu")
            torch.cuda.empty_cache()
            self._state.asleep = True

    def wake(self) -> None:
        """Move the weights back after `sleep`."""
        self._state.check_running()
        if self._state.asleep:
            self._model.to(self._device)
            self._state.asleep = False

    # ------------------------------------------------------------------ requests

    def submit(self, request: Request) -> None:
        """Queue a request; the current adapter answers it.

        Raises:
            PromptTooLong: prompt + max_tokens exceeds `max_model_len`; nothing was queued.
            EngineError: the id is in flight already, the prompt is empty or holds a token outside the vocabulary, or
                the engine is not running.
        """
        self._state.admit(request, self._max_model_len, self._vocabulary, structured_output=False)

    def poll(self) -> list[Completion]:
        """Answer one batch of the queued requests.

        Raises:
            EngineError: `generate` failed (out of memory: lower `concurrency`); the requests stay queued.
        """
        self._state.check_awake()
        from longmab_pl.engines.transformers.batch import answer_rows

        batch = self._next_batch()
        if not batch:
            return []
        rows = [(request, (request.seed or 0) + i) for request in batch for i in range(request.n)]
        try:
            responses = answer_rows(self._model, self._tokenizer, self._ends, rows)
        except (RuntimeError, ValueError) as error:
            raise EngineError(
                f"Transformers' generate failed on {len(rows)} responses to prompts of up to "
                f"{max(len(request.prompt_ids) for request in batch)} tokens: {error}; if memory ran out, lower "
                "engine.concurrency"
            ) from error
        waiting = iter(responses)
        completions = []
        for request in batch:
            texts, reasons, tokens, means = zip(*itertools.islice(waiting, request.n), strict=True)
            del self._state.in_flight[request.id]
            completions.append(
                Completion(
                    request_id=request.id,
                    texts=texts,
                    finish_reasons=reasons,
                    completion_tokens=tuple(map(len, tokens)),
                    prompt_tokens=len(request.prompt_ids),
                    token_ids=tokens,
                    mean_logprobs=means if request.logprobs else (),
                )
            )
        return completions

    def _next_batch(self) -> list[Request]:
        """Return the request that has waited longest, and those nearest to it in length that fill the batch."""
        if not self._state.in_flight:
            return []
        first, *others = self._state.in_flight.values()
        length = len(first.prompt_ids)
        batch, room = [first], self._concurrency - first.n
        for each in sorted(others, key=lambda other: abs(len(other.prompt_ids) - length)):
            if each.n <= room:
                batch.append(each)
                room -= each.n
        return batch

    def abort(self) -> None:
        """Drop every unfinished request."""
        self._state.in_flight.clear()

    @torch.no_grad()
    def score(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return natural-log probabilities of each prompt's tokens 1..T-1 given those before, with the current adapter.

        Args:
            prompts: token ids, each of length T >= 2.

        Returns:
            one list of T - 1 values for each prompt, in order.

        Raises:
            PromptTooLong: T + 1 exceeds `max_model_len`.
            EngineError: requests are in flight, or a prompt is shorter than two tokens.
        """
        self._state.check_awake()
        self._state.check_idle("score")
        check_scorable(prompts, self._max_model_len, self._vocabulary)
        scores = []
        for prompt in prompts:
            ids = torch.tensor([list(prompt)], device=self._device)
            logits = self._model(input_ids=ids, use_cache=False).logits[0, :-1]  # [T - 1, V]
            chunks = zip(logits.split(SCORE_ROWS), ids[0, 1:].split(SCORE_ROWS), strict=True)
            values = [rows.float().log_softmax(-1).gather(-1, next_[:, None])[:, 0] for rows, next_ in chunks]
            scores.append([value for part in values for value in part.tolist()])
        if any(not math.isfinite(value) for row in scores for value in row):
            raise EngineError(f"the model {self._state.model!r} gives log-probabilities that are not finite")
        return scores

    def conversation(self, adapter: bool = True) -> Conversation:
        """Return a new conversation with the model, with its current adapter or without; see `Conversation`.

        Raises:
            EngineError: the engine does not run.
        """
        self._state.check_awake()
        return Conversation(self._model, self._tokenizer, self._ends, self._max_model_len, adapter)

    # ------------------------------------------------------------------ adapter

    def sync(self, adapter: Path | None) -> None:
        """Use this PEFT adapter folder from now on (None: the base model), without merging it into the weights.

        Raises:
            EngineError: requests are in flight, or the folder has no adapter that fits the model.
        """
        self._state.check_idle("sync")
        self._state.check_awake()
        from peft import PeftConfig, PeftModel

        if adapter is not None:
            check_adapter(adapter)
        if isinstance(self._model, PeftModel):
            self._model = self._model.unload()
        if adapter is None:
            return
        try:
            with isolated_rng():
                attached = PeftModel(self._model, PeftConfig.from_pretrained(str(adapter), inference_mode=True))
                result = attached.load_adapter(str(adapter), "default")
            lost = [key for key in result.missing_keys if "lora_" in key]
            if lost or result.unexpected_keys:
                raise ValueError(f"{len(lost)} weights are missing in it, {len(result.unexpected_keys)} have no place")
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            name = self._state.model
            self.close()  # the adapter may be partly loaded
            raise EngineError(f"the adapter {adapter} does not fit the model {name!r}: {error}") from error
        self._model = attached.eval()
