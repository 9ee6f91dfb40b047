"""The interface of an inference engine: requests are queued, completions are returned in any order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from longmab_pl.checks import at_least, between, not_negative, unit_interval
from longmab_pl.engines.text import whole_characters

POLICY = "policy"
"""Name of the engine that answers with the current adapter."""


@dataclass(frozen=True)
class Sampling:
    """How to sample one response. The defaults are the LongMab-PO authors' (T 1.0, top-p 0.95, presence penalty 1.0).

    Args:
        temperature: 0 is greedy.
        top_p: nucleus mass in (0, 1].
        presence_penalty: in [-2, 2].
        max_tokens: at most this many new tokens.
        stop: strings that end a response; they are not part of it.
    """

    temperature: float = 1.0
    top_p: float = 0.95
    presence_penalty: float = 1.0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        not_negative("sampling.temperature", self.temperature, "use 0 (greedy) or a positive number")
        unit_interval("sampling.top_p", self.top_p, zero=False)
        between("sampling.presence_penalty", self.presence_penalty, -2, 2)
        at_least("sampling.max_tokens", self.max_tokens, 1)


@dataclass(frozen=True)
class Request:
    """One prompt to answer.

    Args:
        id: unique among the requests of a rollout; the journal's key.
        prompt_ids: token ids, chat template included.
        sampling: how to sample.
        n: number of responses to this prompt (one prefill).
        seed: per-request seed, or None for the engine's own randomness.
        to: name of the engine that answers: `policy`, or another one of the run, such as `judge`.
        progress: how many units of the strategy's progress its completion is (`Strategy.progress_unit`); None: `n` for
            the policy, 0 for other engines.
        schema: JSON schema of the response, as text; only for engines with `structured_output`.
        is_block: whether a response is one block of a longer text, which usually ends at `max_tokens` and goes on. Only
            the estimate of a round's cost uses it.
        logprobs: whether the completion should have `mean_logprobs`, if the engine can report them.
    """

    id: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    n: int = 1
    seed: int | None = None
    to: str = POLICY
    progress: int | None = None
    schema: str | None = None
    is_block: bool = False
    logprobs: bool = False

    @property
    def responses(self) -> int:
        """Number of the policy's responses that it asks for."""
        return self.n if self.to == POLICY else 0

    @property
    def units(self) -> int:
        """Units of progress that its completion is."""
        return self.responses if self.progress is None else self.progress


@dataclass(frozen=True)
class Completion:
    """The finished answer to one `Request`: `n` responses.

    Args:
        request_id: id of the request.
        texts: text of each response, [n].
        finish_reasons: why each response ended, [n]: `stop` (by itself) or `length` (cut at `max_tokens`).
        completion_tokens: number of generated tokens of each response, [n].
        prompt_tokens: number of tokens of the prompt.
        cached_tokens: how many of those were in the engine's prefix cache.
        token_ids: the sampled tokens of each response, [n] tuples, including a sampled end token; empty if the engine
            does not report them.
        mean_logprobs: mean log-probability (nats, at temperature 1) of the sampled tokens of each response, [n]; empty
            if the request did not ask for them or the engine does not report them.
    """

    request_id: str
    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    completion_tokens: tuple[int, ...]
    prompt_tokens: int
    cached_tokens: int = 0
    token_ids: tuple[tuple[int, ...], ...] = ()
    mean_logprobs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        # A lone surrogate cannot be encoded as UTF-8, so it could not be written to journals, rollouts and pairs.
        object.__setattr__(self, "texts", tuple(map(whole_characters, self.texts)))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Completion:
        return cls(
            request_id=row["request_id"],
            texts=tuple(row["texts"]),
            finish_reasons=tuple(row["finish_reasons"]),
            completion_tokens=tuple(row["completion_tokens"]),
            prompt_tokens=row["prompt_tokens"],
            cached_tokens=row.get("cached_tokens", 0),
            token_ids=tuple(map(tuple, row.get("token_ids", ()))),
            mean_logprobs=tuple(row.get("mean_logprobs", ())),
        )


R = TypeVar("R")

RequestStream = Generator[list[Request], list[Completion], R]
"""A running strategy or reward: yields requests, receives their completions in the same order, returns a result."""


@runtime_checkable
class Engine(Protocol):
    """An inference engine. Constructing one is cheap; `start` loads the model (idempotent for the same model).

    Completions of a request carry the adapter that was synced when the request was submitted; callers sync
    only while nothing is in flight.
    """

    @property
    def concurrency(self) -> int:
        """Number of responses that the scheduler keeps in flight: as many as the engine generates at once, and a few
        more if the engine chooses among them."""

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus response, in tokens. Valid after `start`."""

    @property
    def weight_format(self) -> str:
        """Kind of engine, dtype and quantization of the weights, as far as the settings say. Answers on disk are reused
        only with the same weight format."""

    @property
    def structured_output(self) -> bool:
        """Whether responses follow `Request.schema`. Valid after `start`; without it, such requests are refused."""

    @property
    def started(self) -> bool: ...

    def start(self, model: str) -> None:
        """Load `model` (a local folder or hub name). Raises `EngineError` if it cannot be loaded."""

    def submit(self, request: Request) -> None:
        """Queue a request. Raises `PromptTooLong` if prompt + max_tokens exceeds `max_model_len`."""

    def poll(self) -> list[Completion]:
        """Advance, and return the completions finished since the last call, if any. Returns [] at once if idle."""

    def abort(self) -> None:
        """Drop every unfinished request."""

    def score(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return natural-log probabilities of each prompt's tokens 1..T-1 given those before; needs an idle engine."""

    def sync(self, adapter: Path | None) -> None:
        """Use this PEFT adapter folder from now on (None: the base model), with no stale prefix cache."""

    def sleep(self) -> None:
        """Free the accelerator's memory for training, if the platform can."""

    def wake(self) -> None: ...

    def close(self) -> None:
        """Stop the engine and free its memory; safe to call twice and at any time."""
