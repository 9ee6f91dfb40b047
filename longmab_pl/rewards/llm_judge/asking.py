"""Concurrent questions to a judge, each repeated until its reply can be parsed."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from longmab_pl.engines.addressee import Addressee
from longmab_pl.engines.protocol import Request, RequestStream, Sampling
from longmab_pl.errors import BudgetUsedUp
from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.base import BUDGET_USED_UP, RewardContext
from longmab_pl.rewards.llm_judge.attempts import Outcome, attempts
from longmab_pl.rewards.llm_judge.replies import ReplyForm
from longmab_pl.seeding import derive_seed

TOP_P = 1.0

NO_VERDICT = "no verdict"
"""Reason: no attempt gave a reply that can be parsed."""

TOO_LONG = "too long for the judge"
"""Reason: the question and the longest reply do not fit the judge's engine."""


@dataclass(frozen=True)
class Question:
    """One question to a judge.

    Args:
        name: unique name in its call of `score`, used in request ids.
        prompt: the user's message; there is no system message.
        form: form of the reply.
        judge: the engine that is asked.
    """

    name: str
    prompt: str
    form: ReplyForm[Any]
    judge: Addressee

    @cached_property
    def prompt_ids(self) -> tuple[int, ...]:
        """Token ids of the prompt, with the judge's chat template."""
        return self.judge.chat.prompt_ids([{"role": "user", "content": self.prompt}])

    @property
    def fits(self) -> bool:
        """Whether the question and the longest reply fit the judge."""
        return self.judge.fits(self.prompt_ids, self.form.max_tokens)


def ask(
    questions: Sequence[Question], context: RewardContext, engine: str, temperatures: Sequence[float]
) -> RequestStream[dict[str, Outcome[Any]]]:
    """Send all questions to an engine at once, and repeat those without a verdict until the attempts are used up.

    A question that is too long for the engine is not sent; one that would exceed the engine's budget has no verdict.
    Sampling seeds depend on the prompt and the number of the attempt only, so that the same question has the same
    answer wherever it is asked.

    Args:
        questions: the questions.
        context: context of the reward.
        engine: name of the engine.
        temperatures: one sampling temperature per attempt.

    Returns:
        A generator that returns one outcome per question, by name. A thought at the beginning of a reply is ignored.
    """
    outcomes: dict[str, Outcome[Any]] = {}
    asking: dict[str, Generator[float, str, Outcome[Any]]] = {}
    temperature: dict[str, float] = {}
    tokens: dict[str, int] = {}
    asked = {question.name: question for question in questions}
    for name, question in asked.items():
        if not question.fits:
            outcomes[name] = Outcome(None, 0, "", TOO_LONG)
            continue
        asking[name] = attempts(question.form.parse, temperatures)
        temperature[name] = next(asking[name])
        tokens[name] = 0
    attempt = 0
    while asking:
        names = list(asking)
        try:
            completions = yield [_request(asked[n], context, engine, temperature[n], attempt) for n in names]
        except BudgetUsedUp:
            outcomes |= {name: Outcome(None, attempt, "", BUDGET_USED_UP, tokens[name]) for name in names}
            break
        for name, completion in zip(names, completions, strict=True):
            tokens[name] += completion.prompt_tokens + sum(completion.completion_tokens)
            try:
                temperature[name] = asking[name].send(without_thought(completion.texts[0]))
            except StopIteration as end:
                missing = NO_VERDICT if end.value.value is None else ""
                outcomes[name] = replace(end.value, missing=missing, tokens=tokens[name])
                del asking[name]
        attempt += 1
    return outcomes


def _request(question: Question, context: RewardContext, engine: str, temperature: float, attempt: int) -> Request:
    content = hashlib.blake2b(array("I", question.prompt_ids).tobytes(), digest_size=8).hexdigest()
    return Request(
        id=f"{context.key}/{question.name}/{attempt}",
        prompt_ids=question.prompt_ids,
        sampling=Sampling(temperature, TOP_P, 0.0, question.form.max_tokens),
        seed=derive_seed("judge", content, attempt),
        to=engine,
        schema=question.form.schema,
    )
