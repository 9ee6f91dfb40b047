"""The state of an engine: whether it is running, asleep or broken, and which requests are unfinished."""

from __future__ import annotations

from dataclasses import replace

from longmab_pl.engines.protocol import Request
from longmab_pl.engines.request_checks import Seeds, check_request
from longmab_pl.errors import EngineError


class EngineState:
    """The state of one run of an engine, with the checks that every call begins with.

    Args:
        seed: seed for requests without one.
    """

    def __init__(self, seed: int) -> None:
        self.model = ""
        """Name of the running model, or ""."""
        self.broken = ""
        """Why the engine can no longer be used, or ""."""
        self.asleep = False
        self.in_flight: dict[str, Request] = {}
        """Unfinished requests by id, in submission order, each with its sampling seed."""
        self._seeds = Seeds(seed)

    @property
    def started(self) -> bool:
        return bool(self.model) and not self.broken

    def runs(self, model: str) -> bool:
        """Return whether `model` is running already.

        Raises:
            EngineError: another model is running.
        """
        if self.started and model != self.model:
            raise EngineError(f"the engine already runs {self.model!r}; close it before starting {model!r}")
        return self.started

    def check_running(self) -> None:
        """Raise `EngineError` unless the engine is started and not broken."""
        if self.broken:
            raise EngineError(f"the engine can no longer be used: {self.broken}; call close() and start it again")
        if not self.model:
            raise EngineError("the engine does not run; call start(model) first")

    def check_awake(self) -> None:
        """Raise `EngineError` unless the engine is started, not broken and not asleep."""
        self.check_running()
        if self.asleep:
            raise EngineError("the engine sleeps; call wake() first")

    def check_idle(self, what: str) -> None:
        """Raise `EngineError` unless the engine is running and nothing is in flight.

        Args:
            what: the operation that needs an idle engine, for the message.
        """
        self.check_running()
        if self.in_flight:
            raise EngineError(f"{what}: {len(self.in_flight)} requests are in flight; finish or abort them first")

    def admit(self, request: Request, max_model_len: int, vocabulary: int, *, structured_output: bool) -> Request:
        """Add a request to `in_flight`, and return it with its sampling seed.

        Args:
            request: the request to queue.
            max_model_len: longest prompt plus response, in tokens.
            vocabulary: number of token ids of the model.
            structured_output: whether the engine's responses can follow a schema.

        Raises:
            PromptTooLong: prompt + max_tokens exceeds `max_model_len`.
            EngineError: the engine is not ready, the id is in flight already, n is below 1, the prompt is empty or
                holds a token outside the vocabulary, or there is a schema that the engine does not support.
        """
        self.check_awake()
        check_request(request, self.in_flight, max_model_len, vocabulary)
        if request.schema is not None and not structured_output:
            raise EngineError(
                f"request {request.id!r} has a JSON schema, which this engine does not support; ask for text, or use "
                "VLLMEngine or a vLLM server"
            )
        admitted = replace(request, seed=self._seeds.of(request))
        self.in_flight[request.id] = admitted
        return admitted
