"""An engine for tests that answers from the prompt's text, out of order, and a tokenizer with one id per character."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.errors import EngineError, PromptTooLong


class CharacterTokenizer:
    """Reversible: token id = code point. With a chat template that wraps the user's turn in <u>...</u><a>."""

    chat_template = "<u>{{content}}</u><a>"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": self.encode(text)}

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return "".join(map(chr, ids))

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"<u>{message['content']}</u>" for message in messages) + "<a>"


class ScriptedEngine:
    """Implements the `Engine` protocol: `answer(prompt text)` is what the model says.

    Completions come back shuffled and a few at a time; some polls return nothing. `fail_after` answers the engine
    breaks, like a process that is killed.
    """

    def __init__(
        self,
        answer: Callable[[str], str],
        *,
        concurrency: int = 4,
        max_model_len: int = 100_000,
        fail_after: int | None = None,
        seed: int = 0,
    ) -> None:
        self.answer = answer
        self.concurrency = concurrency
        self.max_model_len = max_model_len
        self.fail_after = fail_after
        self.started = True
        self.weight_format = "scripted"
        self.asked: list[Request] = []
        self.most_in_flight = 0
        self.aborted = False
        self._in_flight: list[Request] = []
        self._random = random.Random(seed)
        self._answered = 0

    def start(self, model: str) -> None: ...

    def submit(self, request: Request) -> None:
        if len(request.prompt_ids) + request.sampling.max_tokens > self.max_model_len:
            raise PromptTooLong(f"{request.id}: too long")
        self.asked.append(request)
        self._in_flight.append(request)
        self.most_in_flight = max(self.most_in_flight, len(self._in_flight))

    def poll(self) -> list[Completion]:
        self._random.shuffle(self._in_flight)
        ready = self._in_flight[: self._random.randint(0, self.concurrency)]
        del self._in_flight[: len(ready)]
        completions = []
        for request in ready:
            if self.fail_after is not None and self._answered >= self.fail_after:
                raise EngineError("the scripted engine was told to break")
            self._answered += 1
            text = self.answer("".join(map(chr, request.prompt_ids)))
            limit = request.sampling.max_tokens
            reason = "stop" if len(text) <= limit else "length"
            completions.append(
                Completion(request.id, (text[:limit],), (reason,), (min(len(text), limit),), len(request.prompt_ids))
            )
        return completions

    def abort(self) -> None:
        self.aborted = True
        self._in_flight.clear()

    def score(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[0.0] * (len(prompt) - 1) for prompt in prompts]

    def sync(self, adapter: Path | None) -> None: ...

    def sleep(self) -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def scripted_engine() -> type[ScriptedEngine]:
    return ScriptedEngine


@pytest.fixture
def tokenizer() -> CharacterTokenizer:
    return CharacterTokenizer()
