"""A policy and a judge for stepwise searches: what they say is a function of the prompt, token ids included."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.models.embedder import Embedder
from longmab_pl.prompts.instruction import Instruction
from longmab_pl.rewards.principles import PRINCIPLES
from longmab_pl.rewards.writing_quality import WritingQuality
from longmab_pl.strategies.base import StrategyContext

STORY = QARecord("story", "Write a story of 40 words.", (), "", length=40)


def story_context(
    tokenizer: Any,
    rewards: tuple[Any, ...] = (WritingQuality(),),
    seed: int = 0,
    max_model_len: int = 20_000,
    structured_output: bool = False,
) -> StrategyContext:
    judges = {"judge": Addressee(ChatFormat(tokenizer), 1_000_000, structured_output)}
    return StrategyContext(tokenizer, Instruction(), Embedder(), max_model_len, seed, rewards, judges)


def labels(prompt: str) -> list[str]:
    """Names under which a joint verdict is to be given."""
    if "in the form: " in prompt:  # under a schema: numbers, which the tags end with
        return [str(i) for i in range(1, 1 + len(re.findall(r"^<[0-9a-f]{10}-\d+>$", prompt, re.MULTILINE)))]
    form = prompt.rpartition("exactly as in: ")[2]
    return re.findall(r'"([0-9a-f]{10}-\d+)":', form)


def candidates(prompt: str) -> dict[str, str]:
    """Text of each candidate by its name."""
    blocks = re.findall(r"^<([0-9a-f]{10}-\d+)>\n(.*?)\n</\1>$", prompt, re.MULTILINE | re.DOTALL)
    return dict(zip(labels(prompt), (text for _, text in blocks), strict=True))


def ratings(value: float) -> dict[str, float]:
    return dict.fromkeys(PRINCIPLES, value)


class Judge:
    """A judge that rates blocks by a function of their text, and keeps the prompts that it was asked.

    Args:
        rate: text of a block -> its rating on each principle, or one for all.
        contradicts: text of a block -> whether it contradicts the facts.
        facts: text of a block -> the facts that it states.
    """

    def __init__(
        self,
        rate: Callable[[str], float | dict[str, float]] = lambda block: 3,
        contradicts: Callable[[str], bool] = lambda block: False,
        facts: Callable[[str], list[str]] = lambda block: [],
    ) -> None:
        self.rate, self.contradicts, self.facts = rate, contradicts, facts
        self.asked: dict[str, list[str]] = {"ratings": [], "facts": [], "contradictions": [], "advice": []}

    def __call__(self, request: Request, prompt: str) -> str:
        kind = next(name for name in self.asked if f"/{name}/" in f"{request.id}/")
        self.asked[kind].append(prompt)
        if kind == "ratings":
            rated = {name: self.rate(block) for name, block in candidates(prompt).items()}
            named = {name: r if isinstance(r, dict) else ratings(r) for name, r in rated.items()}
            if request.schema is not None:
                return json.dumps({"analysis": ""} | {name: list(r.values()) for name, r in named.items()})
            return json.dumps(named)
        if kind == "contradictions":
            said = {n: "contradicts" if self.contradicts(b) else "consistent" for n, b in candidates(prompt).items()}
            return json.dumps(said)
        if kind == "facts":
            block = prompt.partition("Part:\n")[2].split(">\n", 1)[1].split("\n</", 1)[0]
            if request.schema is not None:
                return json.dumps({"facts": self.facts(block)})
            return "".join(f"<statement>{fact}</statement>" for fact in self.facts(block)) or "<no-statements/>"
        asked = re.findall(r'"(principle\d)":', prompt.rpartition("exactly as in: ")[2])
        return json.dumps({name: {"suggestion": f"Mind {name}.", "confidence": 3} for name in asked})


def search(
    stream: Any,
    tokenizer: Any,
    write: Callable[[Request, int, str], str],
    judge: Callable[[Request, str], str],
    logprobs: Callable[[str], float] = lambda text: -1.0,
) -> tuple[Any, list[Request]]:
    """Run a strategy; return its rollout and all requests.

    A text that ends with "END" is the model's own end: its ids have an end token in its place.

    Args:
        stream: `strategy.roll(...)`.
        tokenizer: decodes prompts.
        write: request, number of the response, prompt -> the policy's text.
        judge: request, prompt -> the judge's reply.
        logprobs: text -> mean log-probability.
    """
    asked: list[Request] = []
    try:
        requests = next(stream)
        while True:
            asked += requests
            completions = []
            for request in requests:
                prompt = tokenizer.decode(list(request.prompt_ids))
                if request.to != "policy":
                    completions.append(Completion(request.id, (judge(request, prompt),), ("stop",), (1,), 1))
                    continue
                said = [write(request, i, prompt) for i in range(request.n)]
                texts = [text.removesuffix("END") for text in said]
                ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
                ended = [text.endswith("END") for text in said]
                completions.append(
                    Completion(
                        request.id,
                        tuple(texts),
                        tuple("stop" if end else "length" for end in ended),
                        tuple(map(len, ids)),
                        len(request.prompt_ids),
                        token_ids=tuple(
                            (*own, *([tokenizer.eos_token_id] if end else []))
                            for own, end in zip(ids, ended, strict=True)
                        ),
                        mean_logprobs=tuple(map(logprobs, texts)),
                    )
                )
            requests = stream.send(completions)
    except StopIteration as end:
        return end.value, asked
