"""Judges of a few lines for tests: a reply is a function of the prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.prompts.judge import ENGLISH
from longmab_pl.rewards.llm_judge.verdicts import NO_NOTES, NO_STATEMENTS

FIRST_LINES = {getattr(ENGLISH, name).split("\n")[0]: name for name in ENGLISH.__dataclass_fields__}


def drive(stream: Any, judge: Callable[[str], str], tokenizer: Any) -> tuple[Any, list[Request]]:
    """Answer all requests of a reward by a judge; return its scores and what was asked."""
    asked: list[Request] = []
    try:
        requests = next(stream)
        while True:
            asked += requests
            texts = [judge(tokenizer.decode(request.prompt_ids)) for request in requests]
            requests = stream.send(
                [
                    Completion(request.id, (text,), ("stop",), (1,), len(request.prompt_ids))
                    for request, text in zip(requests, texts, strict=True)
                ]
            )
    except StopIteration as end:
        return end.value, asked


def kind(prompt: str) -> str:
    """Which of the judge's prompts this is."""
    return next(name for line, name in FIRST_LINES.items() if line in prompt)


def names(prompt: str) -> list[str]:
    """The names under which a joint verdict is to be given."""
    form = prompt.rpartition("exactly as in: ")[2]
    return re.findall(r'"([^".]+)":', form)


def verdict(prompt: str, score: float = 3, support: str = "none", statement: str = "Lima is in Peru.") -> str:
    """What an unmoved judge ends its reply with."""
    asked = kind(prompt)
    if asked.endswith("_of_all"):
        value: Any = support if asked == "support_of_all" else score
        return json.dumps(dict.fromkeys(names(prompt), value))
    if asked == "statements":
        return f"<statement>{statement}</statement>" if statement else NO_STATEMENTS
    if asked == "support":
        return {"fully": "[[Fully supported]]", "partially": "[[Partially supported]]", "none": "[[No support]]"}[
            support
        ]
    return NO_NOTES if asked == "notes" else f"Rating: [[{score}]]"


class WordEmbedder:
    """Embeds texts by their words: equal texts are equal, texts without a common word have nothing in common."""

    def encode(self, texts: list[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), 512), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                row[sum(map(ord, word)) % 512] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
