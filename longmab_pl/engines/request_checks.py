"""Checks that every engine makes before it queues a request, and the request's sampling seed."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import numpy as np

from longmab_pl.engines.protocol import Request
from longmab_pl.errors import EngineError, PromptTooLong


def check_request(request: Request, in_flight: Collection[str], max_model_len: int, vocabulary: int) -> None:
    """Raise an error for a request that cannot be answered, before any of it is queued.

    Args:
        request: the request to check.
        in_flight: ids of unfinished requests.
        max_model_len: longest prompt plus response, in tokens.
        vocabulary: number of token ids of the model.

    Raises:
        PromptTooLong: prompt + max_tokens exceeds `max_model_len`.
        EngineError: the id is in flight already, n is below 1, or the prompt is empty or holds a token outside the
            vocabulary.
    """
    if request.id in in_flight:
        raise EngineError(f"a request with the id {request.id!r} is in flight already; ids must be unique")
    if request.n < 1:
        raise EngineError(f"request {request.id!r} asks for n={request.n} responses; it must be at least 1")
    check_prompt(request.id, request.prompt_ids, request.sampling.max_tokens, max_model_len, vocabulary)


def check_prompt(name: str, prompt_ids: Sequence[int], max_tokens: int, max_model_len: int, vocabulary: int) -> None:
    """Raise an error for a prompt that cannot be answered.

    Raises:
        PromptTooLong: prompt + max_tokens exceeds `max_model_len`.
        EngineError: the prompt is empty or holds a token outside the vocabulary.
    """
    if not prompt_ids:
        raise EngineError(f"request {name!r} has an empty prompt")
    if len(prompt_ids) + max_tokens > max_model_len:
        raise PromptTooLong(
            f"request {name!r}: {len(prompt_ids)} prompt tokens + {max_tokens} new tokens exceed the engine's "
            f"{max_model_len}; shorten the prompt, lower sampling.max_tokens or raise engine.max_model_len"
        )
    if not 0 <= min(prompt_ids) <= max(prompt_ids) < vocabulary:
        raise EngineError(
            f"request {name!r} holds a token id outside the model's vocabulary of {vocabulary}; "
            "was it made with another model's tokenizer?"
        )


def check_scorable(prompts: Sequence[Sequence[int]], max_model_len: int, vocabulary: int) -> None:
    """Raise an error for prompts whose tokens cannot be scored.

    Raises:
        PromptTooLong: T + 1 exceeds `max_model_len` (scoring generates one token).
        EngineError: a prompt has fewer than two tokens, or one outside the vocabulary.
    """
    for index, prompt in enumerate(prompts):
        if len(prompt) < 2:
            raise EngineError(f"prompt {index} to score has {len(prompt)} tokens; it needs at least 2")
        check_prompt(f"score {index}", prompt, 1, max_model_len, vocabulary)


class Seeds:
    """Sampling seeds of an engine: the request's own seed, or one drawn from the engine's seed in submission order.

    vLLM gives response i of a request the seed `seed + i`. Neighboring seeds are therefore spread apart: otherwise
    requests with seeds 0 and 1 for the same prompt would share all but one of their responses. Engines with the same
    spread sample the same.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn = itertools.count()

    def of(self, request: Request) -> int:
        """Return the request's seed, in [0, 2^62)."""
        return spread(request.seed) if request.seed is not None else spread(self._seed, next(self._drawn))


def spread(*entropy: int) -> int:
    """Return a number in [0, 2^62) that is far apart for neighboring entropies."""
    return int(np.random.SeedSequence(list(entropy)).generate_state(1, np.uint64)[0] >> np.uint64(2))
