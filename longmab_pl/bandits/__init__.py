"""Bandit policies: pure arithmetic over arrays, no input or output."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

from longmab_pl.bandits.index_policy import Scores
from longmab_pl.bandits.kl_ucb import KLUCB
from longmab_pl.bandits.linear_thompson import LinearThompson
from longmab_pl.bandits.moss import MOSS
from longmab_pl.bandits.policy import BanditPolicy
from longmab_pl.bandits.successive_elimination import SuccessiveElimination
from longmab_pl.bandits.thompson_beta import ThompsonBeta
from longmab_pl.bandits.ucb1 import UCB1
from longmab_pl.bandits.ucb_tuned import UCBTuned
from longmab_pl.bandits.uniform import Uniform
from longmab_pl.errors import ConfigError

POLICIES: dict[str, type] = {
    "ucb1": UCB1,
    "ucb_tuned": UCBTuned,
    "kl_ucb": KLUCB,
    "moss": MOSS,
    "thompson_beta": ThompsonBeta,
    "linear_thompson": LinearThompson,
    "successive_elimination": SuccessiveElimination,
    "uniform": Uniform,
}

__all__ = [
    "KLUCB",
    "MOSS",
    "POLICIES",
    "UCB1",
    "BanditPolicy",
    "BanditSettings",
    "LinearThompson",
    "SuccessiveElimination",
    "ThompsonBeta",
    "UCBTuned",
    "Uniform",
]


@dataclasses.dataclass(frozen=True)
class BanditSettings:
    """Which bandit policy is used, and its options.

    Args:
        policy: a key of `POLICIES` (`ucb1` is the paper's; docs/bandits.md compares them) or the import path of a
            class with the `BanditPolicy` methods, constructed as `cls(initial_scores, top_k, **options)`, with `seed`
            if it has that parameter.
        options: keyword arguments of that class.
    """

    policy: str = "ucb1"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        parameters = inspect.signature(self._class()).parameters
        unknown = sorted(set(self.options) - set(parameters))
        if unknown:
            known = ", ".join(p for p in parameters if p not in ("initial_scores", "top_k", "seed")) or "none"
            raise ConfigError(f"bandit.options has {', '.join(unknown)}; policy {self.policy!r} takes: {known}")
        if self.policy in POLICIES:
            self.start([0.5], 1, 0)  # refuse invalid options now, before the model is loaded

    def start(self, initial_scores: Scores, top_k: int, seed: int) -> BanditPolicy:
        """Return a new policy for one record."""
        cls = self._class()
        seeded = {"seed": seed} if "seed" in inspect.signature(cls).parameters else {}
        policy: BanditPolicy = cls(initial_scores, top_k, **seeded, **self.options)
        return policy

    def _class(self) -> type:
        if self.policy in POLICIES:
            return POLICIES[self.policy]
        module, _, name = self.policy.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError):
            found = None
        if not inspect.isclass(found):
            raise ConfigError(
                f"bandit.policy {self.policy!r} is neither one of {', '.join(POLICIES)} nor the import path of a class"
            )
        return found


HOMES = {cls.__name__: cls.__module__ for cls in (BanditSettings, *POLICIES.values())}
