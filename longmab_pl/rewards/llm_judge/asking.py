"""Concurrent questions to a judge, each repeated until its reply can be parsed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.engines.protocol import Request, RequestStream, Sampling
from longmab_pl.prompts import encoding
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.base import RewardContext
from longmab_pl.rewards.llm_judge.attempts import Outcome, attempts
from longmab_pl.seeding import derive_seed

TOP_P = 1.0


@dataclass(frozen=True)
class Question:
    """One question to a judge.

    Args:
        name: unique name in its call of `score`, used in request ids.
        prompt: the user's message; there is no system message.
        parse: function that reads a reply; None means that it has no verdict.
        max_tokens: maximum length of the reply, in tokens.
    """

    name: str
    prompt: str
    parse: Callable[[str], Any]
    max_tokens: int


def ask(
    questions: Sequence[Question], context: RewardContext, engine: str, temperatures: Sequence[float]
) -> RequestStream[list[Outcome[Any]]]:
    """Send all questions to an engine at once, and repeat those without a verdict until the attempts are used up.

    Args:
        questions: the questions.
        context: context of the reward.
        engine: name of the engine.
        temperatures: one sampling temperature per attempt.

    Returns:
        A generator that returns one outcome per question. A thought at the beginning of a reply is ignored.
    """
    asking: dict[int, Generator[float, str, Outcome[Any]]] = {}
    temperature: dict[int, float] = {}
    for i, question in enumerate(questions):
        asking[i] = attempts(question.parse, temperatures)
        temperature[i] = next(asking[i])
    outcomes: dict[int, Outcome[Any]] = {}
    attempt = 0
    while asking:
        open_now = list(asking)
        completions = yield [_request(questions[i], context, engine, temperature[i], attempt) for i in open_now]
        for i, completion in zip(open_now, completions, strict=True):
            try:
                temperature[i] = asking[i].send(without_thought(completion.texts[0]))
            except StopIteration as end:
                outcomes[i] = end.value
                del asking[i]
        attempt += 1
    return [outcomes[i] for i in range(len(questions))]


def _request(question: Question, context: RewardContext, engine: str, temperature: float, attempt: int) -> Request:
    key = f"{context.key}/{question.name}/{attempt}"
    message = {"role": "user", "content": question.prompt}
    return Request(
        id=key,
        prompt_ids=encoding.chat(context.tokenizer, [message]).ids,
        sampling=Sampling(temperature, TOP_P, 0.0, question.max_tokens),
        seed=derive_seed(context.seed, key),
        to=engine,
    )
