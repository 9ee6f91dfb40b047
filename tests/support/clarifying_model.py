"""A scripted model that answers every step of a clarification tree, by the ids of its requests."""

from __future__ import annotations

import random
import re

from longmab_pl.engines.protocol import Request


def step_of(request: Request) -> str:
    """Return the step that a request asks for: `verdict`, `clarify`, `answer` or `final`."""
    return next(part for part in ("verdict", "clarify", "answer", "final", "score") if f"/{part}" in request.id)


class ClarifyingModel:
    """Answers at once, differently for each request; right by chance, and more often from relevant paragraphs.

    Args:
        tokenizer: the prompts' tokenizer.
        gold: the right answer, which the relevant paragraph holds.
        relevant: words of relevant paragraphs.
    """

    def __init__(self, tokenizer, gold: str = "Lima", relevant: str = "river") -> None:
        self.tokenizer, self.gold, self.relevant = tokenizer, gold, relevant

    def __call__(self, request: Request, i: int) -> str:
        draw = random.Random(f"{request.seed} {i}")
        step = step_of(request)
        if step == "verdict":
            return self.verdict(self.tokenizer.decode(list(request.prompt_ids)))
        if step == "clarify":
            return f"What of number {draw.randrange(10**6)}?"
        if step == "answer":
            return f"It says {draw.randrange(10**6)}."
        return self.gold if draw.random() < 0.5 else f"{self.gold[:2]} or {draw.randrange(100)}"

    def verdict(self, prompt: str) -> str:
        """Return a label for each numbered question in the prompt, or one."""
        paragraph = prompt.split("Does this paragraph help")[0]
        label = "yes" if self.relevant in paragraph else "no"
        numbers = re.findall(r"^(\d+)\. ", prompt.split("Does this paragraph help")[1], re.MULTILINE)
        return "\n".join(f"{n}: {label}" for n in numbers) or f"I know. Answer: {label}"


def clarified(request: Request, i: int) -> str:
    """Keeps the first paragraph, and answers a record's question ("number 10n") at every third node or so."""
    draw = random.Random(f"{request.seed} {i}")
    step = step_of(request)
    if step == "verdict":
        return "1: yes\n2: yes\n3: yes" if request.id.endswith("/0") else "1: no\n2: no\n3: no"
    if step == "clarify":
        return f"What of {draw.randrange(10**4)}?"
    record = int(request.id.split("/")[0])
    return f"number {record * 10}" if draw.random() < 0.4 else f"at {draw.randrange(100)} or so"
