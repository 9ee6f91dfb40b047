"""The expected cost of a round, before anything is asked: strategies and rewards run on placeholder answers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from longmab_pl.data.records import QARecord
from longmab_pl.engines.addressee import Addressee
from longmab_pl.engines.protocol import POLICY, Completion, Request, RequestStream
from longmab_pl.errors import LongMabError
from longmab_pl.models.embedder import Embedder, Embeddings
from longmab_pl.rollout.account import content_key
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.strategies.base import RecordRollout, StrategyContext

RECORDS = 20
"""Number of records that are run; the cost of a round is that of as many as it has."""

CHARACTERS_PER_TOKEN = 4
"""Characters of a placeholder that count as one generated token."""

MOST_ITEMS = 22
"""Most items of a placeholder list: the statements of a long answer (LongReward, section 3.3)."""

_WORDS = ("the", "river", "of", "old", "town", "north", "was", "in", "a", "house", "by", "some", "year", "and", "land")


@dataclass
class ExpectedCost:
    """What one engine is asked for one purpose in a round, about.

    Args:
        engine: name of the engine.
        purpose: name of the reward that asks; `strategy` for the strategy.
        calls: number of requests; what equals an earlier request of the same engine is not counted for a judge.
        prompt_tokens: tokens of their prompts.
        new_tokens: tokens of the responses, if they are half as long as allowed (blocks of a text: as long as allowed),
            and lists have one item for 25 tokens of an answer.
    """

    engine: str
    purpose: str
    calls: float = 0.0
    prompt_tokens: float = 0.0
    new_tokens: float = 0.0

    @property
    def tokens(self) -> float:
        """Tokens of prompts and responses."""
        return self.prompt_tokens + self.new_tokens

    def times(self, scale: float) -> ExpectedCost:
        """Return the cost of `scale` times as many records."""
        numbers = (self.calls * scale, self.prompt_tokens * scale, self.new_tokens * scale)
        return ExpectedCost(self.engine, self.purpose, *numbers)


def expected_costs(
    plan: RoundPlan,
    records: Sequence[QARecord],
    tokenizer: Any,
    addressees: Mapping[str, Addressee],
    seed: int = 0,
) -> list[ExpectedCost]:
    """Return the expected cost of a round by engine and purpose. Loads no model.

    Strategies and rewards run as in a rollout, and get placeholders as answers: random words, or values that fit the
    request's JSON schema. A strategy that stops early by its rewards may need less, a judge whose replies cannot be
    parsed more.

    Args:
        plan: how the round samples and scores.
        records: the round's records.
        tokenizer: the policy's tokenizer.
        addressees: the run's engines by name, the policy's among them.
        seed: seed of the placeholders.
    """
    structured = {name: replace(each, structured_output=True) for name, each in addressees.items()}
    context = StrategyContext(
        tokenizer=tokenizer,
        prompt_format=plan.prompt_format,
        embedder=_AnyEmbedder(),
        max_model_len=addressees[POLICY].max_model_len,
        seed=seed,
        rewards=plan.rewards,
        addressees=structured,
    )
    items = min(max(plan.strategy.max_response_tokens // 25, 1), MOST_ITEMS)
    counted = _Counted([reward.name for reward in plan.rewards], items)
    chosen = records[:RECORDS]
    for record in chosen:
        counted.run(plan.strategy.roll(record, context))
    scale = len(records) / max(len(chosen), 1)
    return [cost.times(scale) for cost in counted.costs.values()]


class _Counted:
    """Answers requests by placeholders and counts them."""

    def __init__(self, rewards: Sequence[str], items: int) -> None:
        self.rewards = rewards
        self.items = items
        self.costs: dict[tuple[str, str], ExpectedCost] = {}
        self._known: set[tuple[str, str]] = set()

    def run(self, stream: RequestStream[RecordRollout]) -> None:
        """Run one record's strategy to its end; one that cannot use the record costs what it has asked so far."""
        answers: list[Completion] | None = None
        while True:
            try:
                requests = next(stream) if answers is None else stream.send(answers)
            except (StopIteration, LongMabError):
                return
            answers = [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Completion:
        texts = tuple(placeholder(request, i, self.items) for i in range(request.n))
        lengths = tuple(min(len(t) // CHARACTERS_PER_TOKEN + 1, request.sampling.max_tokens) for t in texts)
        key = (request.to, content_key(request))
        if request.to == POLICY or key not in self._known:
            self._known.add(key)
            parts = request.id.split("/")
            purpose = next((name for name in self.rewards if name in parts), "strategy")
            cost = self.costs.setdefault((request.to, purpose), ExpectedCost(request.to, purpose))
            cost.calls += 1
            cost.prompt_tokens += len(request.prompt_ids)
            cost.new_tokens += sum(lengths)
        reason = "length" if request.is_block else "stop"
        return Completion(request.id, texts, (reason,) * request.n, lengths, len(request.prompt_ids))


def placeholder(request: Request, i: int, items: int) -> str:
    """Return a text in place of response i to a request: it fits the request's JSON schema, if there is one.

    Args:
        request: the request.
        i: number of the response.
        items: number of items of a list.
    """
    draw = random.Random(f"{request.id} {i}")
    if request.schema is None:
        longest = request.sampling.max_tokens * CHARACTERS_PER_TOKEN
        return _text(draw, longest if request.is_block else longest // 2)
    return json.dumps(_value(json.loads(request.schema), draw, items))


def _value(schema: Mapping[str, Any], draw: random.Random, items: int) -> Any:
    """Return a value that fits a schema of objects, lists, texts, numbers and choices."""
    if "enum" in schema:
        return draw.choice(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        return {name: _value(inner, draw, items) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        count = max(min(items, schema.get("maxItems", items)), schema.get("minItems", 0))
        return [_value(schema["items"], draw, items) for _ in range(count)]
    if kind in ("integer", "number"):
        return draw.randint(int(schema.get("minimum", 0)), int(schema.get("maximum", 10)))
    if kind == "boolean":
        return draw.random() < 0.5
    return _text(draw, min(schema.get("maxLength", 400), 400) // 2)


def _text(draw: random.Random, characters: int) -> str:
    words = [draw.choice(_WORDS)]
    length = len(words[0])
    while length < characters:
        words.append(draw.choice(_WORDS))
        length += 1 + len(words[-1])
    return " ".join(words)[: max(characters, 1)].strip()


class _AnyEmbedder(Embedder):
    """An embedder without a model: which chunks are similar does not change the cost."""

    def encode(self, texts: Sequence[str]) -> Embeddings:
        draw = [random.Random(text) for text in texts]
        vectors = np.array([[each.gauss(0, 1) for _ in range(16)] for each in draw], np.float32).reshape(-1, 16)
        unit: Embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def load(self) -> Any:
        raise LongMabError("a dry run loads no embedder")
