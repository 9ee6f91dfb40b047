"""An engine without a model whose answers come from a function, so that strategies can be tested in milliseconds."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from longmab_pl.checks import at_least
from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.engines.request_checks import check_scorable
from longmab_pl.engines.state import EngineState
from longmab_pl.errors import EngineError

Answer = Callable[[Request, int], str]
"""(request, i) -> text of its response i. The request always has a seed, drawn by the engine if it had none."""


class ScriptedEngine:
    """An `Engine` that answers with a function. Answers come out of order, as from a real engine, but reproducibly.

    It needs no model, so it starts by itself if `start` was not called. Attributes record its calls: `asked` (requests
    in the order of submission), `occupancy` (responses in flight at each `poll`), `synced` (adapters in the order of
    `sync`), `slept` and `aborted` (number of calls), `closed`.

    Args:
        answer: returns the text of response i of a request.
        tokenizer: tokenizes answers, which are cut at `max_tokens`; None: every word counts as a token.
        concurrency: responses that the scheduler keeps in flight.
        max_model_len: longest prompt plus response, in tokens.
        jitter: an answer takes 1 to `jitter` polls, drawn for each request's id.
        fail_after: the poll that would exceed this number of answered requests fails; None: no poll fails.
        weight_format: value of the `weight_format` property.
        vocabulary: number of token ids; larger ids are refused.
        structured_output: whether requests may have a JSON schema; the function must follow it.
        seed: seed of the order of answers, and of requests without a seed.

    Raises:
        ConfigError: `concurrency` or `jitter` is below 1.

    Example:
        >>> engine = ScriptedEngine(lambda request, i: f"answer {i}")
        >>> engine.start("any name")
        >>> engine.submit(Request("a", (1, 2, 3), Sampling(), n=2))
        >>> [completion for _ in range(5) for completion in engine.poll()][0].texts
        ('answer 0', 'answer 1')
    """

    def __init__(
        self,
        answer: Answer,
        *,
        tokenizer: Any = None,
        concurrency: int = 8,
        max_model_len: int = 100_000,
        jitter: int = 5,
        fail_after: int | None = None,
        weight_format: str = "scripted",
        vocabulary: int = sys.maxunicode + 1,
        structured_output: bool = False,
        seed: int = 0,
    ) -> None:
        at_least("engine.concurrency", concurrency, 1)
        at_least("engine.jitter", jitter, 1)
        self.answer = answer
        self.tokenizer = tokenizer
        self.jitter = jitter
        self.fail_after = fail_after
        self.weight_format = weight_format
        self.structured_output = structured_output
        self.asked: list[Request] = []
        self.occupancy: list[int] = []
        self.synced: list[Path | None] = []
        self.slept = 0
        self.aborted = 0
        self.closed = False
        self._concurrency = concurrency
        self._max_model_len = max_model_len
        self._vocabulary = vocabulary
        self._seed = seed
        self._reset()

    def _reset(self) -> None:
        self._state = EngineState(self._seed)
        self._polls = 0
        self._answered = 0
        self._responses = 0  # in flight
        self._due: dict[int, list[str]] = {}  # poll -> ids of the requests that it answers

    @property
    def concurrency(self) -> int:
        return self._concurrency

    @property
    def max_model_len(self) -> int:
        return self._max_model_len

    @property
    def started(self) -> bool:
        return self._state.started

    def start(self, model: str) -> None:
        """Store the model's name.

        Raises:
            EngineError: the engine was started with another model.
        """
        if not self._state.runs(model):
            self._state.model = model

    def submit(self, request: Request) -> None:
        """Queue a request.

        Raises:
            PromptTooLong: prompt + max_tokens exceeds `max_model_len`.
            EngineError: the id is in flight, the prompt is empty or holds a token outside the vocabulary, or the engine
                is asleep.
        """
        self._begin()
        self._state.admit(request, self._max_model_len, self._vocabulary, structured_output=self.structured_output)
        self.asked.append(request)
        wait = random.Random(f"{self._seed} {request.id}").randint(1, self.jitter)
        self._responses += request.n
        self._due.setdefault(self._polls + wait, []).append(request.id)

    def poll(self) -> list[Completion]:
        """Return the completions that are due now, the latest request first.

        Raises:
            EngineError: `fail_after` requests are answered, or the engine is asleep.
        """
        self._begin()
        self._state.check_awake()
        self._polls += 1
        self.occupancy.append(self._responses)
        due = self._due.pop(self._polls, [])
        self._answered += len(due)
        if self.fail_after is not None and self._answered > self.fail_after:
            raise EngineError(f"the engine died: it was told to break after {self.fail_after} answers")
        return [self._complete(self._state.in_flight.pop(name)) for name in reversed(due)]

    def _complete(self, request: Request) -> Completion:
        self._responses -= request.n
        responses = [self._cut(self.answer(request, i), request.sampling.max_tokens) for i in range(request.n)]
        return Completion(
            request_id=request.id,
            texts=tuple(text for text, _, _ in responses),
            finish_reasons=tuple(reason for _, reason, _ in responses),
            completion_tokens=tuple(tokens for _, _, tokens in responses),
            prompt_tokens=len(request.prompt_ids),
            mean_logprobs=(0.0,) * request.n if request.logprobs else (),
        )

    def _cut(self, text: str, max_tokens: int) -> tuple[str, str, int]:
        """Return at most `max_tokens` of a text, why it ends there, and its number of tokens."""
        if self.tokenizer is None:
            return text, "stop", len(text.split())
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        if len(ids) <= max_tokens:
            return text, "stop", len(ids)
        return self.tokenizer.decode(ids[:max_tokens]), "length", max_tokens

    def abort(self) -> None:
        """Drop every unfinished request."""
        self.aborted += 1
        self._state.in_flight.clear()
        self._due.clear()
        self._responses = 0

    def score(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return a log-probability of 0 for every token."""
        self._begin()
        self._state.check_awake()
        self._state.check_idle("score")
        check_scorable(prompts, self._max_model_len, self._vocabulary)
        return [[0.0] * (len(prompt) - 1) for prompt in prompts]

    def sync(self, adapter: Path | None) -> None:
        """Append the adapter to `synced`."""
        self._begin()
        self._state.check_awake()
        self._state.check_idle("sync")
        self.synced.append(adapter)

    def sleep(self) -> None:
        self._begin()
        self._state.check_idle("sleep")
        self._state.asleep = True
        self.slept += 1

    def wake(self) -> None:
        self._begin()
        self._state.asleep = False

    def close(self) -> None:
        self._reset()
        self.closed = True

    def _begin(self) -> None:
        if not self._state.model:
            self.start("scripted")


def answer_from_prompt(answer: Callable[[str], str], tokenizer: Any) -> Answer:
    """Return an `Answer` computed from the prompt's text.

    Args:
        answer: prompt text -> response text.
        tokenizer: decodes prompts.

    Example:
        >>> engine = ScriptedEngine(answer_from_prompt(str.upper, tokenizer), tokenizer=tokenizer)
    """
    return lambda request, i: answer(tokenizer.decode(request.prompt_ids))
