"""Answers for `ScriptedEngine` that several tests and their configs name."""

from __future__ import annotations

import random

from longmab_pl.engines.protocol import Request
from longmab_pl.rollout.dry_run import placeholder


def numbered(request: Request, i: int) -> str:
    """Right for record n ("number 10n") at every third pull, wrong in several ways at the others."""
    record, pull = request.id.split("/")
    right = (int(record) + int(pull)) % 3 == 0
    return f" number {int(record) * 10}" if right else f" number {int(record) * 10 + 1 + int(pull)} or so"


def by_seed(request: Request, i: int) -> str:
    """Right now and then, whatever is asked: "number 10" or "Land1", drawn by the request's seed."""
    return random.Random(f"{request.seed} {i}").choice([" number 10", " Land1", " number 7 or so"])


def judged(request: Request, i: int) -> str:
    """What fits the request's JSON schema; other numbers for other requests."""
    return placeholder(request, i, items=2)
