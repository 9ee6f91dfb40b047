"""Two views of one engine that share its weights: the policy with its adapter, and the base model without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longmab_pl.engines.protocol import Completion, Engine, Request


class AdapterView:
    """An engine with one adapter (None: the base model), which `wake` loads.

    Views of one engine take turns (`Scheduler.taking_turns`): only the one that is awake submits requests. So every
    completion carries its own adapter, and a judge needs no weights of its own.

    Args:
        engine: the started engine that the views share.
        adapter: PEFT folder of this view's adapter; None: the base model.
        frees_device: whether `sleep` frees the device, because other engines on it take turns too.

    Example:
        >>> engines = {"policy": AdapterView(engine, folder), "judge": AdapterView(engine, None)}
        >>> Scheduler(engines, taking_turns=["policy", "judge"])
    """

    def __init__(self, engine: Engine, adapter: Path | None, *, frees_device: bool = False) -> None:
        self.engine = engine
        self.adapter = adapter
        self.frees_device = frees_device

    @property
    def concurrency(self) -> int:
        return self.engine.concurrency

    @property
    def max_model_len(self) -> int:
        return self.engine.max_model_len

    @property
    def weight_format(self) -> str:
        return self.engine.weight_format

    @property
    def structured_output(self) -> bool:
        return self.engine.structured_output

    @property
    def started(self) -> bool:
        return self.engine.started

    def start(self, model: str) -> None:
        self.engine.start(model)

    def submit(self, request: Request) -> None:
        self.engine.submit(request)

    def poll(self) -> list[Completion]:
        return self.engine.poll()

    def abort(self) -> None:
        self.engine.abort()

    def score(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        return self.engine.score(prompts)

    def sync(self, adapter: Path | None) -> None:
        self.engine.sync(adapter)

    def sleep(self) -> None:
        """Free the device if other engines need it."""
        if self.frees_device:
            self.engine.sleep()

    def wake(self) -> None:
        """Load this view's adapter."""
        self.engine.wake()
        self.engine.sync(self.adapter)

    def close(self) -> None:
        self.engine.close()
