"""Judges of a few lines for tests: a reply is a function of the prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import Completion, Request
from longmab_pl.prompts.judge import ENGLISH
from longmab_pl.rewards.llm_judge.verdicts import NO_NOTES, NO_STATEMENTS

FIRST_LINES = {
    getattr(ENGLISH, name).split("\n")[0]: name
    for name in ENGLISH.__dataclass_fields__
    if not name.startswith("reply_")
}


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


def judged_by(tokenizer: Any, max_model_len: int = 1_000_000, structured_output: bool = False) -> dict[str, Addressee]:
    """A run with one judge."""
    return {"judge": Addressee(ChatFormat(tokenizer), max_model_len, structured_output)}


def kind(prompt: str) -> str:
    """Which of the judge's prompts this is."""
    return next(name for line, name in FIRST_LINES.items() if line in prompt)


JSON_FORM = "in the form: "
"""What the prompt says before the form of a reply under a JSON schema."""


def names(prompt: str) -> list[str]:
    """The names under which a joint verdict is to be given."""
    form = prompt.rpartition(JSON_FORM if JSON_FORM in prompt else "exactly as in: ")[2]
    return [name for name in re.findall(r'"([^".]+)":', form) if name != "analysis"]


def verdict(prompt: str, score: float = 3, support: str = "none", statement: str = "Lima is in Peru.") -> str:
    """What an unmoved judge ends its reply with."""
    asked = kind(prompt)
    if JSON_FORM in prompt:
        return json.dumps(fields(asked, names(prompt), score, support, statement))
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


def fields(asked: str, verdicts: list[str], score: float, support: str, statement: str) -> dict[str, Any]:
    """What it fills a JSON object with."""
    if asked == "statements":
        return {"statements": [statement] if statement else []}
    if asked == "notes":
        return {"notes": []}
    return {"analysis": "", **dict.fromkeys(verdicts, support if asked.startswith("support") else score)}


class WordEmbedder:
    """Embeds texts by their words: equal texts are equal, texts without a common word have nothing in common."""

    def encode(self, texts: list[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), 512), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                row[sum(map(ord, word)) % 512] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
