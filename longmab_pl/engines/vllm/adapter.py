"""Loading of adapters into a vLLM engine in this process: merged into its weights, or through its LoRA kernels."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

from longmab_pl.engines.vllm.merge import merged_weights
from longmab_pl.errors import EngineError
from longmab_pl.models.adapter_files import check_adapter, uses_dora


class AdapterSlot:
    """The adapter that a running vLLM engine uses.

    vLLM identifies adapters, and prompts cached with them, by path: every adapter needs its own folder.

    Args:
        llm: a `vllm.LLMEngine`.
        model: folder or hub name of its base model.
        merge_dtype: dtype of the merged weights, or None: LoRA kernels, nothing is merged.
        max_lora_rank: the rank that vLLM was started with, for errors.
    """

    def __init__(self, llm: Any, model: str, merge_dtype: str | None, max_lora_rank: int) -> None:
        self._llm = llm
        self._model = model
        self._merge_dtype = merge_dtype
        self._max_lora_rank = max_lora_rank
        self._digest: str | None = None  # of the adapter in use; None is the base model
        self._seen: dict[Path, str] = {}  # adapter folder -> digest of its content when it was synced
        self._ids = itertools.count(1)  # an id that was used before would silently keep the old adapter
        self.lora: Any = None
        """The vLLM LoRARequest of every request, or None for the weights as they are."""

    def sync(self, adapter: Path | None) -> None:
        """Use this PEFT adapter folder from now on (None: the base model), with an empty prefix cache.

        Raises:
            EngineError: the folder holds no adapter, was synced before with other content, or cannot be loaded.
        """
        digest = None if adapter is None else self._new_content(adapter)
        if digest == self._digest:
            return
        if self._merge_dtype is not None:
            self._reload(adapter, self._merge_dtype)
        else:
            self._exchange(adapter)
        if not self._llm.reset_prefix_cache():
            raise EngineError("vLLM did not empty its prefix cache, so old answers could leak into new ones")
        self._digest = digest

    def _new_content(self, adapter: Path) -> str:
        files = check_adapter(adapter)
        digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
        if self._seen.setdefault(adapter.resolve(), digest) != digest:
            raise EngineError(
                f"the adapter folder {adapter} was synced before with other content; write each adapter to a new folder"
            )
        return digest

    def _reload(self, adapter: Path | None, dtype: str) -> None:
        weights = None if adapter is None else iter(merged_weights(self._model, adapter, dtype).items())
        # Without weights vLLM reads the base model's own files again.
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights, "is_checkpoint_format": True})

    def _exchange(self, adapter: Path | None) -> None:
        from vllm.lora.request import LoRARequest

        old, new = self.lora, None
        if adapter is not None:
            if uses_dora(adapter):
                raise EngineError(
                    f"vLLM's LoRA kernels serve no DoRA adapter such as {adapter}; set engine.adapter_sync: merge"
                )
            number = next(self._ids)
            new = LoRARequest(f"adapter-{number}", number, str(adapter.resolve()))
            if not self._llm.add_lora(new):
                raise EngineError(f"vLLM did not load the adapter {adapter}; is its rank above {self._max_lora_rank}?")
        self.lora = new
        if old is not None:
            self._llm.remove_lora(old.lora_int_id)
