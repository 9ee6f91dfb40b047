"""Answers for `ScriptedEngine` that stepwise searches of several tests and their configs name."""

from __future__ import annotations

import random

from longmab_pl.engines.protocol import Request

WORDS = ("the", "old", "boat", "came", "home", "with", "salt", "bread", "and", "a", "letter", "for", "nobody", "in")


def by_seed(request: Request, i: int) -> str:
    """A line of 4 to 40 words, drawn by the request's seed: long ones are cut at the size of a block."""
    draw = random.Random(f"{request.seed} {i}")
    return "".join(f" {draw.choice(WORDS)}" for _ in range(draw.randrange(4, 40)))
